// The CUDA dialect: one thread is one path, so a per-path value is a plain register.
#define INLINE __device__ __forceinline__
#define R(x) ((real)(x))
#if OB_DOUBLE
typedef double real;
#else
typedef float real;
#endif
typedef real F;
typedef int I;
typedef unsigned int U;
typedef unsigned int word;
typedef bool M;
#ifdef __CUDACC_RTC__
#define __builtin_nan nan  // NVRTC lacks the built-in
#endif

template <class T>
struct Pair {
  T high, low;
};
INLINE Pair<U> mul_wide(word a, U b) { return {__umulhi(a, b), a * b}; }

INLINE F v_spread(real x) { return x; }
INLINE I v_spread(int x) { return x; }
INLINE U v_spread(word x) { return x; }
INLINE M v_spread(bool x) { return x; }

// NaN wins in minimum and maximum, as in NumPy. The instructions for it came with sm_80.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
INLINE float v_min(float a, float b) {
  float r;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}
INLINE float v_max(float a, float b) {
  float r;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}
#else
INLINE float v_min(float a, float b) { return (a < b || a != a) ? a : b; }
INLINE float v_max(float a, float b) { return (a > b || a != a) ? a : b; }
#endif
INLINE double v_min(double a, double b) { return (a < b || a != a) ? a : b; }
INLINE double v_max(double a, double b) { return (a > b || a != a) ? a : b; }
INLINE F v_min_of(F number, F x) { return v_min(number, x); }
INLINE F v_max_of(F number, F x) { return v_max(number, x); }
INLINE int v_min(int a, int b) { return min(a, b); }
INLINE int v_max(int a, int b) { return max(a, b); }

INLINE F v_abs(F x) { return fabs(x); }
INLINE F v_floor(F x) { return floor(x); }
INLINE F v_exp(F x) { return exp(x); }
#if OB_DOUBLE
INLINE F v_sqrt(F x) { return sqrt(x); }
INLINE F v_log(F x) { return log(x); }
INLINE F v_sin2pi(F u) { return sinpi(u + u); }
INLINE F v_cos2pi(F u) { return cospi(u + u); }
#else
// In float32 every instruction counts: a normal costs a logarithm, a root and a turn. These are math.h's
// polynomials (their errors stand there) without a branch; subnormal numbers are zero here, as everywhere
// under -ftz=true. CUDA's own call subroutines for what cannot happen, or for the last half of an ulp.
#ifdef __CUDA_ARCH__
INLINE F v_sqrt(F x) {  // at most one ulp
  F r;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
INLINE F ob_log2(F x) {
  F r;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
#else
INLINE F v_sqrt(F x) { return sqrtf(x); }
INLINE F ob_log2(F x) { return log2f(x); }
#endif
INLINE F ob_poly(F, F c) { return c; }
template <class... Rest>
INLINE F ob_poly(F x, F c, Rest... rest) { return ob_poly(x, rest...) * x + c; }
INLINE F v_log(F x) {
  const int three_quarters = 0x3f400000, off = __float_as_int(x) - three_quarters;
  const F f = __int_as_float((off & 0x7fffff) + three_quarters) - 1.0f;
  const F q = ob_poly(f, -0.5f, 0x1.5555b2p-2f, -0x1.ffeceap-3f, 0x1.993ca4p-3f, -0x1.57d55p-3f, 0x1.314182p-3f,
                      -0x1.f048d8p-4f, 0x1.c79bap-5f);
  const F y = (F)(off >> 23) * 0x1.62e43p-1f + (f * f * q + f);
  // positive, normal and finite in one comparison; for all others the instruction is right, and needs no branch
  return (U)(__float_as_int(x) - 0x00800000) < 0x7f000000u ? y : ob_log2(x);
}
struct ob_Turn {
  F sine, cosine;
  int quadrant;
};
INLINE ob_Turn ob_turn(F u) {
  const F f = u - ((u + 0x1.8p24f) - 0x1.8p24f);  // to even integers: between -1 and 1
  const F quarters = f + 0x1.8p21f;               // its last bit counts quarters
  const F r = f - (quarters - 0x1.8p21f), z = r * r;
  const F s = ob_poly(z, 0x1.921fb6p+2f, -0x1.4abc24p+5f, 0x1.4680ap+6f, -0x1.33182ep+6f);
  const F c = ob_poly(z, 1.0f, -0x1.3bd39cp+4f, 0x1.03b058p+6f, -0x1.4e78bep+6f);
  return {r * s, c, __float_as_int(quarters)};
}
INLINE F ob_quadrant(F even, F odd, int sign) {
  const F x = sign & 1 ? odd : even;
  return __int_as_float(__float_as_int(x) ^ ((sign << 30) & 0x80000000));
}
INLINE F v_sin2pi(F u) {
  const ob_Turn t = ob_turn(u);
  return ob_quadrant(t.sine, t.cosine, t.quadrant);
}
INLINE F v_cos2pi(F u) {  // the sine, a quarter on
  const ob_Turn t = ob_turn(u);
  return ob_quadrant(t.sine, t.cosine, t.quadrant + 1);
}
#endif

template <class T>
INLINE M v_lt(T a, T b) { return a < b; }
template <class T>
INLINE M v_le(T a, T b) { return a <= b; }
template <class T>
INLINE M v_eq(T a, T b) { return a == b; }
template <class T>
INLINE M v_ne(T a, T b) { return a != b; }
INLINE M v_not(M m) { return !m; }
template <class T>
INLINE T v_sel(M m, T a, T b) { return m ? a : b; }
INLINE bool v_any(M m) { return m; }

INLINE F v_real(I i) { return (F)i; }
INLINE I v_int(F x) { return (I)(x > R(-1.0e9) ? (x < R(1.0e9) ? x : R(1.0e9)) : R(-1.0e9)); }
INLINE U v_bits(I i) { return (U)i; }
INLINE I v_signed(U u) { return (I)u; }
INLINE F v_uniform(U u) {
#if OB_DOUBLE
  return (F)u * 0x1p-32 + 0x1p-33;
#else
  return fminf((F)u * 0x1p-32f + 0x1p-33f, 0x1.fffffep-1f);
#endif
}
INLINE U v_shl(U x, I n) { return x << n; }
INLINE U v_shr(U x, I n) { return x >> n; }
INLINE I v_popcount(U x) { return __popc(x); }

INLINE I ob_clamp(I i, int n) { return max(min(i, n - 1), 0); }
INLINE real v_take(const real* column, int n, I i) { return __ldg(column + ob_clamp(i, n)); }
INLINE int v_take(const int* column, int n, I i) { return __ldg(column + ob_clamp(i, n)); }
template <class T>
INLINE T v_get(const T* a, int n, I i) { return a[ob_clamp(i, n)]; }
template <class T>
INLINE void v_set(T* a, int n, I i, T x, M active) {
  if (active) a[ob_clamp(i, n)] = x;
}
template <class T>
INLINE void s_set(T* a, int n, int i, T x) { a[ob_clamp(i, n)] = x; }

// ---- events: a thread lists its own, and takes them one by one
template <class T>
INLINE T v_pick(T x, I) { return x; }
template <class T>
INLINE T v_get(const T* a, int n, I i, I) { return v_get(a, n, i); }
template <class T>
INLINE void v_set(T* a, int n, I i, T x, M active, I) { v_set(a, n, i, x, active); }
typedef real Sum;
INLINE Sum ob_sum(F start) { return start; }
INLINE F ob_total(Sum sum) { return sum; }
INLINE void ob_add(Sum& sum, F x, M, I) { sum += x; }
#define OB_EVENTS(list, length) \
  int list[length];             \
  int list##_count = 0
#define OB_MARK(list, i, mask) \
  if (mask) list[list##_count++] = i
#define OB_FOR_EVENTS(list) for (int list##_at = 0; list##_at < list##_count; ++list##_at)
#define OB_EVENT(list) list[list##_at]
#define OB_EVENT_LANE(list) 0
#define OB_EVENT_LIVE(list) true

// Uniform values live in registers like all others.
#define s_min v_min
#define s_max v_max
#define s_sqrt v_sqrt
#define s_abs v_abs
#define s_floor v_floor
#define s_exp v_exp
#define s_log v_log
#define s_sin2pi v_sin2pi
#define s_cos2pi v_cos2pi
#define s_lt v_lt
#define s_le v_le
#define s_eq v_eq
#define s_ne v_ne
#define s_not v_not
#define s_sel v_sel
#define s_real v_real
#define s_int v_int
#define s_bits v_bits
#define s_signed v_signed
#define s_uniform v_uniform
#define s_shl v_shl
#define s_shr v_shr
#define s_popcount v_popcount
#define s_take v_take
#define s_get v_get

INLINE void v_store(real* to, F x) { *to = x; }
INLINE void v_store(int* to, I x) { *to = x; }

#ifndef OB_THREADS
#define OB_THREADS 128
#endif
#ifdef OB_RESIDENTS  // blocks that a multiprocessor should hold: a bound on the registers
#define OB_BOUNDS OB_THREADS, OB_RESIDENTS
#else
#define OB_BOUNDS OB_THREADS
#endif
#define OB_KERNEL extern "C" __global__ void __launch_bounds__(OB_BOUNDS) ob_run
// A row of the grid runs one parameter set. Each array holds those of all, one after another at a pitch.
#define OB_SCENARIOS , int pitch_P, int pitch_IP, int pitch_C, int pitch_CI, long long pitch_metrics
// Grid-stride, so that any launch shape computes every path once.
#define OB_PATHS                                                                            \
  P += (long long)blockIdx.y * pitch_P;                                                     \
  IP += (long long)blockIdx.y * pitch_IP;                                                   \
  C += (long long)blockIdx.y * pitch_C;                                                     \
  CI += (long long)blockIdx.y * pitch_CI;                                                   \
  metrics += (long long)blockIdx.y * pitch_metrics;                                         \
  bad += (long long)blockIdx.y * stride;                                                    \
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count;           \
       i += (long long)gridDim.x * blockDim.x)
#define OB_PATH_WORD ((word)(first + i))
#define OB_PATH_HIGH ((word)((first + i) >> 32) << 16)
