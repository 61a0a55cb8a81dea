// What every kernel shares, whatever the dialect: Philox and the loop over paths' bookkeeping.
//
// A dialect (native.h, cuda.h) comes first and defines
//   real            float or double (OB_DOUBLE)
//   F I U M         per-path real, 32-bit signed, 32-bit unsigned, mask
//   word            uint32_t, uniform
//   Pair<T>, mul_wide(word, T)   the high and low words of a 32 x 32 bit product
//   v_* and s_*     the operations of ops.py on per-path and on uniform values

// Philox4x32-10, Salmon et al. (2011). The counter's path word differs by lane, the others mostly do not:
// types are deduced, so the first rounds stay scalar where their words are.
template <int ROUNDS, class A, class B, class C, class D>
INLINE void philox_rounds(A c0, B c1, C c2, D c3, word k0, word k1, U& w0, U& w1, U& w2, U& w3) {
  const auto p = mul_wide(0xD2511F53u, c0);
  const auto q = mul_wide(0xCD9E8D57u, c2);
  if constexpr (ROUNDS == 1) {
    w0 = q.high ^ c1 ^ k0;
    w1 = q.low;
    w2 = p.high ^ c3 ^ k1;
    w3 = p.low;
  } else {
    philox_rounds<ROUNDS - 1>(q.high ^ c1 ^ k0, q.low, p.high ^ c3 ^ k1, p.low, k0 + 0x9E3779B9u,
                              k1 + 0xBB67AE85u, w0, w1, w2, w3);
  }
}

// Counter: path low word; path bits 32..47 and month from 1 (0: once per path); stream; block.
template <class BLOCK>
INLINE void philox(U path, word path_and_month, word stream, BLOCK block, word key0, word key1, U& w0, U& w1,
                   U& w2, U& w3) {
  philox_rounds<10>(path, path_and_month, stream, block, key0, key1, w0, w1, w2, w3);
}

// A kernel's text is long: loops that are written out again would not fit the caches of instructions.
#if defined(__clang__)
#define OB_LOOP _Pragma("clang loop unroll(disable)")
#elif defined(__CUDACC__)
#define OB_LOOP _Pragma("unroll 1")
#else
#define OB_LOOP  // g++ does not unroll by itself
#endif

// A float state is tested by adding 0 * x: NaN and infinities leave NaN behind, nothing else does.
#define OB_WATCH(x) watch = watch + (x) * R(0)

// Every value a kernel reads or writes, in one argument list for both dialects.
//   P, IP      parameters (IP ends with offset and length of each column in C or CI)
//   metrics    [metric][stride], series [month][variable][stride] or null, bad [stride]: month of the first
//              non-finite state, 0 if none
//   OB_SCENARIOS  what the dialect adds to run several parameter sets in one launch
#define OB_ARGUMENTS                                                                                       \
  const real *__restrict__ P, const int *__restrict__ IP, const real *__restrict__ C,                      \
      const int *__restrict__ CI, word key0, word key1, unsigned long long first, long long count,         \
      int months, real *__restrict__ metrics, real *__restrict__ series, int *__restrict__ bad,            \
      long long stride OB_SCENARIOS
