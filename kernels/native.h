// The native dialect: a per-path value is a SIMD vector, one lane a path. g++ and clang, any target;
// intrinsics only where the vector extensions have no good spelling.
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#define INLINE static inline __attribute__((always_inline))
#define R(x) ((real)(x))
#if OB_DOUBLE
typedef double real;
typedef int64_t bits_of_real;
#else
typedef float real;
typedef int32_t bits_of_real;
#endif
#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define OB_AVX512 1
#define OB_BYTES 64
#elif defined(__AVX2__)
#define OB_AVX512 0
#define OB_BYTES 32
#else
#define OB_AVX512 0
#define OB_BYTES 16
#endif
#define OB_LANES (OB_BYTES / (OB_DOUBLE ? 8 : 4))
#define OB_EACH for (int l = 0; l < OB_LANES; ++l)

typedef uint32_t word;
typedef real F __attribute__((vector_size(OB_BYTES)));
typedef bits_of_real B __attribute__((vector_size(OB_BYTES)));
typedef int32_t I __attribute__((vector_size(OB_LANES * 4)));
typedef uint32_t U __attribute__((vector_size(OB_LANES * 4)));

#include "math.h"

template <class T>
struct Pair {
  T high, low;
};
INLINE Pair<word> mul_wide(word a, word b) {
  const uint64_t p = (uint64_t)a * b;
  return {(word)(p >> 32), (word)p};
}
// The hardware multiplies the even 32-bit lanes; odd lanes are shifted down for a second product.
#if defined(__x86_64__) && defined(__AVX512F__) && OB_LANES == 16
INLINE Pair<U> mul_wide(word a, U b) {
  const __m512i m = _mm512_set1_epi32((int)a), v = (__m512i)b;
  const __m512i even = _mm512_mul_epu32(m, v), odd = _mm512_mul_epu32(m, _mm512_srli_epi64(v, 32));
  return {(U)_mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB),
          (U)_mm512_mask_shuffle_epi32(even, 0xAAAA, odd, _MM_PERM_CCAA)};
}
#elif defined(__x86_64__) && defined(__AVX2__) && OB_LANES == 8
INLINE Pair<U> mul_wide(word a, U b) {
  const __m256i m = _mm256_set1_epi32((int)a), v = (__m256i)b;
  const __m256i even = _mm256_mul_epu32(m, v), odd = _mm256_mul_epu32(m, _mm256_srli_epi64(v, 32));
  return {(U)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA),
          (U)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA)};
}
#else
INLINE Pair<U> mul_wide(word a, U b) {
  typedef uint64_t W __attribute__((vector_size(OB_LANES * 8)));
  const W p = __builtin_convertvector(b, W) * (uint64_t)a;
  return {__builtin_convertvector(p >> 32, U), __builtin_convertvector(p, U)};
}
#endif

INLINE F v_spread(real x) { return x - F{}; }  // F{} + x would turn -0 into 0
INLINE I v_spread(int x) { return I{} + x; }
INLINE U v_spread(word x) { return U{} + x; }

// ---- masks: a bit by lane in AVX-512, a vector of 0 and -1 elsewhere
#if OB_AVX512
#if OB_DOUBLE
typedef __mmask8 M;
INLINE M v_lt(F a, F b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
INLINE M v_le(F a, F b) { return _mm512_cmp_pd_mask(a, b, _CMP_LE_OQ); }
INLINE M v_eq(F a, F b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
INLINE M v_ne(F a, F b) { return _mm512_cmp_pd_mask(a, b, _CMP_NEQ_UQ); }
INLINE M v_lt(I a, I b) { return _mm256_cmplt_epi32_mask((__m256i)a, (__m256i)b); }
INLINE M v_le(I a, I b) { return _mm256_cmple_epi32_mask((__m256i)a, (__m256i)b); }
INLINE M v_eq(I a, I b) { return _mm256_cmpeq_epi32_mask((__m256i)a, (__m256i)b); }
INLINE M v_eq(U a, U b) { return _mm256_cmpeq_epi32_mask((__m256i)a, (__m256i)b); }
INLINE M v_ne(I a, I b) { return _mm256_cmpneq_epi32_mask((__m256i)a, (__m256i)b); }
INLINE M v_ne(U a, U b) { return _mm256_cmpneq_epi32_mask((__m256i)a, (__m256i)b); }
INLINE F v_sel(M m, F a, F b) { return _mm512_mask_blend_pd(m, b, a); }
INLINE I v_sel(M m, I a, I b) { return (I)_mm256_mask_blend_epi32(m, (__m256i)b, (__m256i)a); }
INLINE U v_sel(M m, U a, U b) { return (U)_mm256_mask_blend_epi32(m, (__m256i)b, (__m256i)a); }
#else
typedef __mmask16 M;
INLINE M v_lt(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
INLINE M v_le(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
INLINE M v_eq(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
INLINE M v_ne(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
INLINE M v_lt(I a, I b) { return _mm512_cmplt_epi32_mask((__m512i)a, (__m512i)b); }
INLINE M v_le(I a, I b) { return _mm512_cmple_epi32_mask((__m512i)a, (__m512i)b); }
INLINE M v_eq(I a, I b) { return _mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b); }
INLINE M v_eq(U a, U b) { return _mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b); }
INLINE M v_ne(I a, I b) { return _mm512_cmpneq_epi32_mask((__m512i)a, (__m512i)b); }
INLINE M v_ne(U a, U b) { return _mm512_cmpneq_epi32_mask((__m512i)a, (__m512i)b); }
INLINE F v_sel(M m, F a, F b) { return _mm512_mask_blend_ps(m, b, a); }
INLINE I v_sel(M m, I a, I b) { return (I)_mm512_mask_blend_epi32(m, (__m512i)b, (__m512i)a); }
INLINE U v_sel(M m, U a, U b) { return (U)_mm512_mask_blend_epi32(m, (__m512i)b, (__m512i)a); }
#endif
INLINE M v_spread(bool x) { return x ? (M)-1 : (M)0; }
INLINE M v_not(M m) { return (M)~m; }
INLINE M v_sel(M m, M a, M b) { return (M)((m & a) | (~m & b)); }
INLINE bool v_any(M m) { return m != 0; }
INLINE bool ob_lane(M m, int l) { return (m >> l) & 1; }
#else
typedef B M;
INLINE M ob_mask(I m) { return __builtin_convertvector(m, M); }
INLINE I ob_ints(M m) { return __builtin_convertvector(m, I); }
INLINE M v_lt(F a, F b) { return (M)(a < b); }
INLINE M v_le(F a, F b) { return (M)(a <= b); }
INLINE M v_eq(F a, F b) { return (M)(a == b); }
INLINE M v_ne(F a, F b) { return (M)(a != b); }
INLINE M v_lt(I a, I b) { return ob_mask((I)(a < b)); }
INLINE M v_le(I a, I b) { return ob_mask((I)(a <= b)); }
INLINE M v_eq(I a, I b) { return ob_mask((I)(a == b)); }
INLINE M v_eq(U a, U b) { return ob_mask((I)(a == b)); }
INLINE M v_ne(I a, I b) { return ob_mask((I)(a != b)); }
INLINE M v_ne(U a, U b) { return ob_mask((I)(a != b)); }
INLINE F v_sel(M m, F a, F b) { return (F)((m & (B)a) | (~m & (B)b)); }
INLINE I v_sel(M m, I a, I b) { return (ob_ints(m) & a) | (~ob_ints(m) & b); }
INLINE U v_sel(M m, U a, U b) { return ((U)ob_ints(m) & a) | (~(U)ob_ints(m) & b); }
#if OB_DOUBLE  // in float a mask is an I, which the line above serves
INLINE M v_sel(M m, M a, M b) { return (m & a) | (~m & b); }
#endif
INLINE M v_spread(bool x) { return M{} - (bits_of_real)(x ? 1 : 0); }
INLINE M v_not(M m) { return ~m; }
INLINE bool v_any(M m) {
#if defined(__AVX2__)
  return !_mm256_testz_si256((__m256i)m, (__m256i)m);
#elif defined(__SSE2__)
  return _mm_movemask_epi8((__m128i)m) != 0;
#else
  bits_of_real all = 0;
  OB_EACH all |= m[l];
  return all != 0;
#endif
}
INLINE bool ob_lane(M m, int l) { return m[l] != 0; }
#endif

// ---- arithmetic
INLINE F v_abs(F x) { return (F)((B)x & (((B){} - 1) & ~((B){} + ((bits_of_real)1 << (sizeof(real) * 8 - 1))))); }
#if OB_AVX512 && OB_DOUBLE
INLINE F ob_min(F a, F b) { return _mm512_min_pd(a, b); }
INLINE F ob_max(F a, F b) { return _mm512_max_pd(a, b); }
INLINE F v_sqrt(F x) { return _mm512_sqrt_pd(x); }
INLINE F v_floor(F x) { return _mm512_roundscale_pd(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
#elif OB_AVX512
INLINE F ob_min(F a, F b) { return _mm512_min_ps(a, b); }
INLINE F ob_max(F a, F b) { return _mm512_max_ps(a, b); }
INLINE F v_sqrt(F x) { return _mm512_sqrt_ps(x); }
INLINE F v_floor(F x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
#elif defined(__AVX2__) && OB_DOUBLE
INLINE F ob_min(F a, F b) { return _mm256_min_pd(a, b); }
INLINE F ob_max(F a, F b) { return _mm256_max_pd(a, b); }
INLINE F v_sqrt(F x) { return _mm256_sqrt_pd(x); }
INLINE F v_floor(F x) { return _mm256_floor_pd(x); }
#elif defined(__AVX2__)
INLINE F ob_min(F a, F b) { return _mm256_min_ps(a, b); }
INLINE F ob_max(F a, F b) { return _mm256_max_ps(a, b); }
INLINE F v_sqrt(F x) { return _mm256_sqrt_ps(x); }
INLINE F v_floor(F x) { return _mm256_floor_ps(x); }
#else
INLINE F ob_min(F a, F b) { return v_sel(v_lt(a, b), a, b); }
INLINE F ob_max(F a, F b) { return v_sel(v_lt(b, a), a, b); }
INLINE F v_sqrt(F x) {
  F r;
  OB_EACH r[l] = sizeof(real) == 8 ? (real)__builtin_sqrt(x[l]) : (real)__builtin_sqrtf((float)x[l]);
  return r;
}
INLINE F v_floor(F x) {
  F r;
  OB_EACH r[l] = (real)__builtin_floor(x[l]);
  return r;
}
#endif
// The hardware's minimum gives its second argument when either is NaN; here NaN wins, as in NumPy.
INLINE F v_min(F a, F b) { return v_sel(v_ne(a, a), a, ob_min(a, b)); }
INLINE F v_max(F a, F b) { return v_sel(v_ne(a, a), a, ob_max(a, b)); }
// Where the first argument is known to be a number, the instruction does so by itself.
INLINE F v_min_of(F number, F x) { return ob_min(number, x); }
INLINE F v_max_of(F number, F x) { return ob_max(number, x); }
INLINE I v_min(I a, I b) { return v_sel(v_lt(a, b), a, b); }
INLINE I v_max(I a, I b) { return v_sel(v_lt(b, a), a, b); }

// ---- conversions
INLINE F v_real(I i) { return __builtin_convertvector(i, F); }
INLINE I v_int(F x) {
  const F low = v_spread(R(-1.0e9)), high = v_spread(R(1.0e9));
  return __builtin_convertvector(v_sel(v_lt(low, x), ob_min(x, high), low), I);
}
INLINE U v_bits(I i) { return (U)i; }
INLINE I v_signed(U u) { return (I)u; }
INLINE F v_uniform(U u) {
#if OB_AVX512
  const F x = __builtin_convertvector(u, F);
#else
  // No unsigned conversion before AVX-512: two exact halves, one rounding where they join.
  const F x = v_real((I)(u >> 16)) * R(65536) + v_real((I)(u & 0xFFFFu));
#endif
#if OB_DOUBLE
  return x * R(0x1p-32) + R(0x1p-33);
#else
  return ob_min(x * R(0x1p-32) + R(0x1p-33), v_spread(R(0x1.fffffep-1)));
#endif
}

// ---- bits
INLINE U v_shl(U x, I n) { return x << (U)n; }
INLINE U v_shr(U x, I n) { return x >> (U)n; }
#if OB_AVX512 && defined(__AVX512VPOPCNTDQ__)
#if OB_DOUBLE
INLINE I v_popcount(U x) { return (I)_mm256_popcnt_epi32((__m256i)x); }
#else
INLINE I v_popcount(U x) { return (I)_mm512_popcnt_epi32((__m512i)x); }
#endif
#else
INLINE I v_popcount(U x) {
  x = x - ((x >> 1) & 0x55555555u);
  x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
  x = (x + (x >> 4)) & 0x0F0F0F0Fu;
  x = x + (x >> 8);
  return (I)((x + (x >> 16)) & 0x3Fu);
}
#endif

// ---- tables and per-path arrays; every index is clamped
INLINE I ob_clamp(I i, int n) { return v_max(v_min(i, v_spread(n - 1)), I{}); }
INLINE int ob_clamp(int i, int n) { return i < 0 ? 0 : i < n ? i : n - 1; }
template <class T>
INLINE T s_take(const T* column, int n, int i) { return column[ob_clamp(i, n)]; }
template <class V, class T>
INLINE V ob_gather(const T* from, I i) {
  V r;
#if OB_AVX512 && !OB_DOUBLE
  r = (V)_mm512_i32gather_epi32((__m512i)i, from, 4);
#elif OB_AVX512
  if constexpr (sizeof(T) == 8) {
    r = (V)_mm512_i32gather_pd((__m256i)i, from, 8);
  } else {
    r = (V)_mm256_i32gather_epi32((const int*)from, (__m256i)i, 4);
  }
#else
  OB_EACH r[l] = from[i[l]];
#endif
  return r;
}
#if OB_AVX512 && !OB_DOUBLE
// A table of up to 32 entries lies in two registers: a permutation is several times faster than a gather.
// Columns are padded (see pack), so both loads stay inside.
INLINE F v_take(const real* column, int n, I i) {
  const I at = ob_clamp(i, n);
  if (n > 32) return ob_gather<F>(column, at);
  return _mm512_permutex2var_ps(_mm512_loadu_ps(column), (__m512i)at, _mm512_loadu_ps(column + 16));
}
INLINE I v_take(const int* column, int n, I i) {
  const I at = ob_clamp(i, n);
  if (n > 32) return ob_gather<I>(column, at);
  return (I)_mm512_permutex2var_epi32(_mm512_loadu_si512(column), (__m512i)at,
                                      _mm512_loadu_si512(column + 16));
}
#else
INLINE F v_take(const real* column, int n, I i) { return ob_gather<F>(column, ob_clamp(i, n)); }
INLINE I v_take(const int* column, int n, I i) { return ob_gather<I>(column, ob_clamp(i, n)); }
#endif

INLINE I ob_lanes() {
  I r;
  OB_EACH r[l] = l;
  return r;
}
INLINE const real* ob_elements(const F* a) { return (const real*)a; }
INLINE const int* ob_elements(const I* a) { return (const int*)a; }
INLINE const int* ob_elements(const U* a) { return (const int*)a; }
template <class V>
INLINE V v_get(const V* a, int n, int i) { return a[ob_clamp(i, n)]; }
template <class V>
INLINE void v_set(V* a, int n, int i, V x, M active) {
  V* at = a + ob_clamp(i, n);
  *at = v_sel(active, x, *at);
}
template <class V>
INLINE void s_set(V* a, int n, int i, V x) { a[ob_clamp(i, n)] = x; }
template <class V>
INLINE V v_get(const V* a, int n, I i) {
  return ob_gather<V>(ob_elements(a), ob_clamp(i, n) * OB_LANES + ob_lanes());
}
template <class V>
INLINE void v_set(V* a, int n, I i, V x, M active) {
#if OB_AVX512 && !OB_DOUBLE
  const I at = ob_clamp(i, n) * OB_LANES + ob_lanes();
  _mm512_mask_i32scatter_epi32(a, active, (__m512i)at, (__m512i)x, 4);
#elif OB_AVX512
  const I at = ob_clamp(i, n) * OB_LANES + ob_lanes();
  if constexpr (sizeof(V) == 64) {
    _mm512_mask_i32scatter_pd(a, active, (__m256i)at, (__m512d)x, 8);
  } else {
    _mm256_mask_i32scatter_epi32(a, active, (__m256i)at, (__m256i)x, 4);
  }
#else
  OB_EACH if (ob_lane(active, l)) a[ob_clamp(i, n)[l]][l] = x[l];
#endif
}

// ---- events: pairs of an index and a lane, listed by index, then taken a vector at a time (see program.py)
template <class V>
INLINE V v_pick(V x, I lane) {
#if OB_AVX512 && !OB_DOUBLE
  return (V)_mm512_permutexvar_epi32((__m512i)lane, (__m512i)x);
#elif OB_AVX512
  if constexpr (sizeof(V) == 64) {
    return (V)_mm512_permutexvar_epi64(_mm512_cvtepi32_epi64((__m256i)lane), (__m512i)x);
  } else {
    return (V)_mm256_permutexvar_epi32((__m256i)lane, (__m256i)x);
  }
#elif defined(__AVX2__) && !OB_DOUBLE
  return (V)_mm256_permutevar8x32_epi32((__m256i)x, (__m256i)lane);
#else
  V r;
  OB_EACH r[l] = x[lane[l]];
  return r;
#endif
}
#if OB_AVX512
INLINE M v_pick(M m, I lane) { return v_ne((v_spread((int)m) >> lane) & 1, I{}); }
#endif
template <class V>
INLINE V v_get(const V* a, int n, I i, I lane) {
  return ob_gather<V>(ob_elements(a), ob_clamp(i, n) * OB_LANES + lane);
}
template <class V>
INLINE void v_set(V* a, int n, I i, V x, M active, I lane) {
#if OB_AVX512 && !OB_DOUBLE
  const I at = ob_clamp(i, n) * OB_LANES + lane;
  _mm512_mask_i32scatter_epi32(a, active, (__m512i)at, (__m512i)x, 4);
#elif OB_AVX512
  const I at = ob_clamp(i, n) * OB_LANES + lane;
  if constexpr (sizeof(V) == 64) {
    _mm512_mask_i32scatter_pd(a, active, (__m256i)at, (__m512d)x, 8);
  } else {
    _mm256_mask_i32scatter_epi32(a, active, (__m256i)at, (__m256i)x, 4);
  }
#else
  OB_EACH if (ob_lane(active, l)) a[ob_clamp(i, n)[l]][lane[l]] = x[l];
#endif
}
INLINE int ob_mark(int* list, int n, int i, M m) {
#if OB_AVX512 && !OB_DOUBLE
  const I event = ob_lanes() + i * OB_LANES;  // packed in a register: the instruction that stores so is slow
  _mm512_storeu_si512(list + n, _mm512_maskz_compress_epi32(m, (__m512i)event));
  return n + __builtin_popcount(m);
#elif OB_AVX512
  const I event = ob_lanes() + i * OB_LANES;
  _mm256_storeu_si256((__m256i*)(list + n), _mm256_maskz_compress_epi32(m, (__m256i)event));
  return n + __builtin_popcount(m);
#else
  if (v_any(m)) OB_EACH if (ob_lane(m, l)) list[n++] = i * OB_LANES + l;
  return n;
#endif
}
INLINE I ob_events(const int* list, int left) {
  I event;
  memcpy(&event, list, sizeof event);
  return v_sel(v_lt(ob_lanes(), v_spread(left)), event, I{});  // behind the last there is anything
}
struct Sum {
  real lane[OB_LANES];
};
INLINE Sum ob_sum(F start) {
  Sum sum;
  memcpy(sum.lane, &start, sizeof start);
  return sum;
}
INLINE F ob_total(const Sum& sum) {
  F total;
  memcpy(&total, sum.lane, sizeof total);
  return total;
}
// In the order of the list, so by path in that of the indices.
INLINE void ob_add(Sum& sum, F x, M live, I lane) {
  real added[OB_LANES];
  int to[OB_LANES];
  const F alive = v_sel(live, x, F{});
  memcpy(added, &alive, sizeof alive);
  memcpy(to, &lane, sizeof lane);
  OB_EACH sum.lane[to[l]] += added[l];
}
#define OB_EVENTS(list, length) \
  int list[((length) + 1) * OB_LANES]; \
  int list##_count = 0
#define OB_MARK(list, i, mask) list##_count = ob_mark(list, list##_count, i, mask)
#define OB_FOR_EVENTS(list) for (int list##_at = 0; list##_at < list##_count; list##_at += OB_LANES)
#define OB_EVENT(list) ((I)((U)ob_events(list + list##_at, list##_count - list##_at) / OB_LANES))
#define OB_EVENT_LANE(list) (ob_events(list + list##_at, list##_count - list##_at) & (OB_LANES - 1))
#define OB_EVENT_LIVE(list) v_lt(ob_lanes(), v_spread(list##_count - list##_at))

// ---- uniform values
template <class T>
INLINE T s_min(T a, T b) { return (a < b || a != a) ? a : b; }
template <class T>
INLINE T s_max(T a, T b) { return (a > b || a != a) ? a : b; }
INLINE real s_abs(real x) { return sizeof(real) == 8 ? (real)__builtin_fabs(x) : (real)__builtin_fabsf((float)x); }
INLINE real s_sqrt(real x) { return sizeof(real) == 8 ? (real)__builtin_sqrt(x) : (real)__builtin_sqrtf((float)x); }
INLINE real s_floor(real x) { return (real)__builtin_floor(x); }
template <class T>
INLINE bool s_lt(T a, T b) { return a < b; }
template <class T>
INLINE bool s_le(T a, T b) { return a <= b; }
template <class T>
INLINE bool s_eq(T a, T b) { return a == b; }
template <class T>
INLINE bool s_ne(T a, T b) { return a != b; }
INLINE bool s_not(bool m) { return !m; }
template <class T>
INLINE T s_sel(bool m, T a, T b) { return m ? a : b; }
INLINE real s_real(int i) { return (real)i; }
// Through the vector: without trapping math g++ makes (real)(int)x a truncation, where -0.5 gives -0.
INLINE int s_int(real x) { return v_int(v_spread(x))[0]; }
INLINE word s_bits(int i) { return (word)i; }
INLINE int s_signed(word u) { return (int)u; }
INLINE real s_uniform(word u) { return v_uniform(v_spread(u))[0]; }
INLINE word s_shl(word x, int n) { return x << n; }
INLINE word s_shr(word x, int n) { return x >> n; }
INLINE int s_popcount(word x) { return __builtin_popcount(x); }

// ---- the loop over paths: whole vectors; arrays are padded to them
INLINE void v_store(real* to, F x) { memcpy(to, &x, sizeof x); }
INLINE void v_store(int* to, I x) { memcpy(to, &x, sizeof x); }
#define OB_SCENARIOS  // a call runs one parameter set: the threads take them in turn
#define OB_KERNEL extern "C" __attribute__((visibility("default"))) void ob_run
#define OB_PATHS for (long long i = 0; i < count; i += OB_LANES)
#define OB_PATH_WORD ((U)(ob_lanes() + (int)(word)(first + i)))
#define OB_PATH_HIGH ((word)((first + i) >> 32) << 16)
