// exp, log and the sine and cosine of turns, one lane a value, for GCC and clang vector extensions.
//
// Included once `real`, the vectors F (of real) and B (integers of the same width), OB_DOUBLE,
// OB_LANES, INLINE and R are defined; where the includer also sets OB_AVX512 to 1 (64-byte vectors,
// <immintrin.h> included), exp and log take the instructions that AVX-512 has for the purpose: they
// halve the time of exp and log per element. The scalar versions run the vector code on a filled
// vector, so that their bits agree by construction.
//
// Every polynomial is this project's own weighted minimax fit (Remez exchange in 170-bit
// arithmetic; each coefficient in turn, the lowest order first, was rounded to the working
// precision and the others fitted again around it). The argument reductions are the classic ones of
// W. J. Cody and W. Waite, "Software Manual for the Elementary Functions" (1980). Errors in ulp
// stand at each function: the worst found, rounded up. They hold with fused multiply-add and
// without it; no step relies on a product being rounded. A product that is added is used only
// there, so that the compiler's choice to fuse is the same wherever a function is inlined.
#ifndef OB_AVX512
#define OB_AVX512 0
#endif
#if OB_DOUBLE
#define OB_FRACTION 52
#define OB_EXPONENT_BIAS 1023
#define OB_ROUND R(0x1.8p52)  // adding it rounds to an integer, which the low bits then hold
#else
#define OB_FRACTION 23
#define OB_EXPONENT_BIAS 127
#define OB_ROUND R(0x1.8p23)
#endif

#define OB_INFINITY R(__builtin_inf())

typedef decltype(B{}[0] + 0) ob_lane_bits;  // the integer type of one lane of B
#define OB_BITS(x) ((ob_lane_bits)(x))
#define OB_ONE_BITS (OB_BITS(OB_EXPONENT_BIAS) << OB_FRACTION)

// Taking zero off, unlike adding to it, keeps the sign of -0 and costs nothing.
INLINE F ob_fill(real x) { return x - F{}; }

// Horner's rule: the fewest operations. Throughput, not latency, bounds a loop over many paths.
INLINE F ob_poly(F, real c) { return ob_fill(c); }
template <class... Rest>
INLINE F ob_poly(F x, real c, Rest... rest) {
  return ob_poly(x, rest...) * x + c;
}

// ---- exp: x = k ln 2 + r with |r| <= ln(2)/2 and exp(r) = 1 + r + r^2 P(r). At most 1.2 ulp, also
// among subnormal results; overflow gives infinity.
INLINE F v_exp(F x) {
#if OB_DOUBLE
  const F low = ob_fill(R(-746)), high = ob_fill(R(0x1.62e42fefa39efp+9));
#else
  const F low = ob_fill(R(-104)), high = ob_fill(R(0x1.62e42ep+6));
#endif
  // Below `low` every result rounds to zero. The instructions give their second argument for NaN,
  // and the comparison is false for it: NaN stays.
#if OB_AVX512 && OB_DOUBLE
  const F b = (F)_mm512_min_pd((__m512d)(high + R(1)), _mm512_max_pd((__m512d)low, (__m512d)x));
#elif OB_AVX512
  const F b = (F)_mm512_min_ps((__m512)(high + R(1)), _mm512_max_ps((__m512)low, (__m512)x));
#else
  const F b = x < low ? low : x;
#endif
  const F shifted = b * R(0x1.71547652b82fep+0) + OB_ROUND;
  const F k = shifted - OB_ROUND;
#if OB_DOUBLE
  // ln 2 in two parts; k times the upper one is exact, fused or not (39 bits and 11).
  const F r = (b - k * R(0x1.62e42fefa4p-1)) - k * R(-0x1.8432a1b0e2634p-43);
  const F p = ob_poly(r, R(1), R(1), R(0x1.000000000000ap-1), R(0x1.5555555555502p-3),
                      R(0x1.555555555060ap-5), R(0x1.11111111250e7p-7), R(0x1.6c16c184b95bap-10),
                      R(0x1.a01a013a9be19p-13), R(0x1.a019986ab6943p-16), R(0x1.71defdda4c5a1p-19),
                      R(0x1.28af138e5b966p-22), R(0x1.adc311959ce89p-26));
#else
  const F r = (b - k * R(0x1.62e4p-1)) - k * R(0x1.7f7d1cp-20);  // 15 bits and 8
  const F p = ob_poly(r, R(1), R(1), R(0x1.fffffcp-2), R(0x1.55548cp-3), R(0x1.555858p-5),
                      R(0x1.123df2p-7), R(0x1.6ac86p-10));
#endif
#if OB_AVX512 && OB_DOUBLE
  return (F)_mm512_scalef_pd((__m512d)p, (__m512d)k);
#elif OB_AVX512
  return (F)_mm512_scalef_ps((__m512)p, (__m512)k);
#else
  // k is added to the exponent field. Results near and below the smallest normal number take a
  // detour 64 powers of two up: the product on the way back rounds them, once.
  const B tiny = (B)(b < ob_fill(R(OB_DOUBLE ? -707 : -86)));
  const B up = (B)p + ((B)shifted << OB_FRACTION) + (tiny & (OB_BITS(64) << OB_FRACTION));
  const F y = (F)up * (tiny ? ob_fill(R(0x1p-64)) : ob_fill(R(1)));
  return x <= high ? y : x + OB_INFINITY;  // infinity above, NaN for NaN
#endif
}

// ---- log: x = 2^e (1 + f) with f in [-1/4, 1/2); log x = e ln 2 + log(1 + f). At most 1.5 ulp.
// float: log(1 + f) = f + f^2 (-1/2 + f P(f)). double: with s = f / (2 + f) it is
// f - s (f - s^2 P(s^2)): the one division replaces eleven further terms.
INLINE F v_log(F x) {
#if OB_AVX512 && OB_DOUBLE
  // getmant is NaN below zero, getexp -inf at zero and inf at infinity: nothing is left to patch.
  const F m = (F)_mm512_getmant_pd((__m512d)x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_nan);
  const F e = (F)_mm512_getexp_pd((__m512d)x) - (F)_mm512_getexp_pd((__m512d)m);
#elif OB_AVX512
  const F m = (F)_mm512_getmant_ps((__m512)x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_nan);
  const F e = (F)_mm512_getexp_ps((__m512)x) - (F)_mm512_getexp_ps((__m512)m);
#else
  // A subnormal x is scaled up first. With the bits of 3/4 taken off, the exponent field holds the
  // power of two that leaves m in [3/4, 3/2).
  const B subnormal = (B)(x < ob_fill(OB_DOUBLE ? R(0x1p-1022) : R(0x1p-126)));
  const B whole = (B)(x * (subnormal ? ob_fill(R(0x1p54)) : ob_fill(R(1))));
  const ob_lane_bits three_quarters = OB_ONE_BITS - (OB_BITS(1) << (OB_FRACTION - 1));
  const B off = whole - three_quarters;
  const F m = (F)((off & ((OB_BITS(1) << OB_FRACTION) - 1)) + three_quarters);
#if OB_DOUBLE
  // 64-bit lanes lack a signed shift and a conversion before AVX-512: the field, made positive,
  // goes into the low bits of 2^52.
  typedef uint64_t Field __attribute__((vector_size(sizeof(F))));
  const Field field = ((Field)off + ((uint64_t)1024 << OB_FRACTION)) >> OB_FRACTION;
  const F e = (F)(field | (uint64_t)0x4330000000000000) -
              (subnormal ? ob_fill(R(0x1p52) + R(1024 + 54)) : ob_fill(R(0x1p52) + R(1024)));
#else
  const F e = __builtin_convertvector(off >> OB_FRACTION, F) - (subnormal ? ob_fill(R(54)) : F{});
#endif
#endif
  const F f = m - R(1);
#if OB_DOUBLE
  const F s = f / (f + R(2)), z = s * s;
  const F p = ob_poly(z, R(0x1.5555555555773p-1), R(0x1.99999998f1694p-2), R(0x1.249249b1bab37p-2),
                      R(0x1.c71c019fe73a9p-3), R(0x1.7474da0e2e39bp-3), R(0x1.3853767d86897p-3),
                      R(0x1.3ab9ac1ead39cp-3));
  const F near_one = f - s * (f - z * p);
#else
  const F q = ob_poly(f, R(-0.5), R(0x1.5555b2p-2), R(-0x1.ffeceap-3), R(0x1.993ca4p-3),
                      R(-0x1.57d55p-3), R(0x1.314182p-3), R(-0x1.f048d8p-4), R(0x1.c79bap-5));
  const F near_one = f * f * q + f;
#endif
  const F y = e * R(0x1.62e42fefa39efp-1) + near_one;
#if OB_AVX512
  return y;
#else
  const F finite = x < OB_INFINITY ? y : x;
  return x > F{} ? finite : (x == F{} ? ob_fill(-OB_INFINITY) : ob_fill(R(__builtin_nan(""))));
#endif
}

// ---- sine and cosine of 2 pi u: u is reduced exactly to r in [-1/8, 1/8] and a quadrant, so that
// zeros and extrema are exact. At most 1.7 ulp, for every finite u; NaN at infinity. Where both
// are called on one u, the compiler finds everything up to the last selections to be common.
struct ob_Turn {
  F sine, cosine;
  B quadrant;  // its two low bits
};
INLINE ob_Turn ob_turn(F u) {
  // OB_ROUND doubled rounds to even integers, and whatever is past its reach is an integer. What is
  // left is between -1 and 1, or a large power of two, which the next step also reduces to zero.
  const F f = u - ((u + R(2) * OB_ROUND) - R(2) * OB_ROUND);
  const F quarters = f + R(0.25) * OB_ROUND;  // its last bit counts quarters
  const F r = f - (quarters - R(0.25) * OB_ROUND);
  const F z = r * r;
#if OB_DOUBLE
  const F s = ob_poly(z, R(0x1.921fb54442d18p+2), R(-0x1.4abbce625bdaep+5), R(0x1.466bc6774afep+6),
                      R(-0x1.32d2ccd46cdffp+6), R(0x1.507821d8dd32cp+5), R(-0x1.e2f3f5d6f0f44p+3),
                      R(0x1.dfc7cfe24adf2p+1));
  const F c = ob_poly(z, R(1), R(-0x1.3bd3cc9be459dp+4), R(0x1.03c1f081b0df1p+6),
                      R(-0x1.55d3c7dc398efp+6), R(0x1.e1f4fb7f959f9p+5), R(-0x1.a6c9c8050487dp+4),
                      R(0x1.f3dc1adb6d32cp+2));
#else
  const F s = ob_poly(z, R(0x1.921fb6p+2), R(-0x1.4abc24p+5), R(0x1.4680ap+6), R(-0x1.33182ep+6));
  const F c = ob_poly(z, R(1), R(-0x1.3bd39cp+4), R(0x1.03b058p+6), R(-0x1.4e78bep+6));
#endif
  return {r * s, c, (B)quarters};
}
// One of two values where the quadrant is odd, with the sign that its second bit tells.
INLINE F ob_quadrant(F even, F odd, B sign, B quadrant) {
  const B other = ((B)even ^ (B)odd) & (B{} - (quadrant & 1));
  const B top = (B)ob_fill(R(-0.0));
  return (F)((B)even ^ other ^ ((sign << ((int)sizeof(real) * 8 - 2)) & top));
}
INLINE F v_sin2pi(F u) {
  const ob_Turn t = ob_turn(u);
  return ob_quadrant(t.sine, t.cosine, t.quadrant, t.quadrant);
}
INLINE F v_cos2pi(F u) {
  const ob_Turn t = ob_turn(u);
  return ob_quadrant(t.cosine, t.sine, t.quadrant + 1, t.quadrant);
}

INLINE real s_exp(real x) { return v_exp(ob_fill(x))[0]; }
INLINE real s_log(real x) { return v_log(ob_fill(x))[0]; }
INLINE real s_sin2pi(real u) { return v_sin2pi(ob_fill(u))[0]; }
INLINE real s_cos2pi(real u) { return v_cos2pi(ob_fill(u))[0]; }
