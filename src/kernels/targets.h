// Which instruction sets Highway compiles. Include before any Highway header in a file with
// kernels.
#ifndef CSM_KERNELS_TARGETS_H_
#define CSM_KERNELS_TARGETS_H_

// The tiles keep vectors in arrays, which C++ forbids for vectors whose length is unknown at
// compile time. GCC can name one length of SVE's per file, and ours is 256 bits (CMakeLists.txt):
// where vectors are as long, SVE_256 runs. Other machines with SVE run the NEON code, which loses
// nothing where vectors have 128 bits (Neoverse N2, V2), and three quarters on the A64FX.
#ifdef CSM_SVE_256
#define CSM_NEVER_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE2_128 | HWY_RVV)
#else
#define CSM_NEVER_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE2_128 | HWY_SVE_256 | HWY_RVV)
#endif

// Under sanitizers one file of kernels takes a minute to compile for all targets. Those between the
// baseline and AVX2 have the baseline's vectors.
#ifdef CSM_FEWER_TARGETS
#define HWY_DISABLED_TARGETS (CSM_NEVER_TARGETS | HWY_SSSE3 | HWY_SSE4)
#else
#define HWY_DISABLED_TARGETS CSM_NEVER_TARGETS
#endif

#endif  // CSM_KERNELS_TARGETS_H_
