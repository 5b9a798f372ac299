// CUDA's language as far as the kernels use it, for a C++ compiler. Comes before everything else in a kernel's source.
//
// Shared memory is `extern __shared__ unsigned char smem[]` alone: one array, which the watch knows. Arithmetic is the processor's, and the functions that a
// device approximates are exact here, so that errors are held against the device's bounds elsewhere.
#pragma once
#include "block.h"
#include "watch.h"
#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ __thread
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))

#define EMU_VECTOR(T, name)                                              \
    struct alignas(2 * sizeof(T)) name##2 {                              \
        T x, y;                                                          \
    };                                                                   \
    struct alignas(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)) name##4 {    \
        T x, y, z, w;                                                    \
    };                                                                   \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }           \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMU_VECTOR(float, float)
EMU_VECTOR(double, double)
EMU_VECTOR(int, int)
EMU_VECTOR(unsigned, uint)
EMU_VECTOR(unsigned short, ushort)
#undef EMU_VECTOR

namespace emu {
uint3 thread_index();
uint3 block_index();
dim3 block_size();
dim3 grid_size();
// The value of the lane that `from` says, of 4 or 8 bytes.
void shuffle(unsigned mask, void* value, size_t size, int from, const char* what);
int lane_of_width(int width, int how, int by);
unsigned ballot(unsigned mask, bool vote, const char* what);
void warp_sync(unsigned mask);

template <class T> T shuffled(unsigned mask, T value, int how, int by, int width, const char* what) {
    shuffle(mask, &value, sizeof value, lane_of_width(width, how, by), what);
    return value;
}
enum { FROM, XOR, DOWN, UP };
} // namespace emu

#define threadIdx (emu::thread_index())
#define blockIdx (emu::block_index())
#define blockDim (emu::block_size())
#define gridDim (emu::grid_size())
constexpr int warpSize = 32;

inline void __syncthreads() { emu::barrier_sync(0, 0, "__syncthreads"); }
inline void __syncwarp(unsigned mask = ~0u) { emu::warp_sync(mask); }
template <class T> T __shfl_sync(unsigned mask, T v, int lane, int width = 32) { return emu::shuffled(mask, v, emu::FROM, lane, width, "__shfl_sync"); }
template <class T> T __shfl_xor_sync(unsigned mask, T v, int by, int width = 32) { return emu::shuffled(mask, v, emu::XOR, by, width, "__shfl_xor_sync"); }
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) { return emu::shuffled(mask, v, emu::DOWN, by, width, "__shfl_down_sync"); }
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) { return emu::shuffled(mask, v, emu::UP, by, width, "__shfl_up_sync"); }
inline unsigned __ballot_sync(unsigned mask, int vote) { return emu::ballot(mask, vote, "__ballot_sync"); }
inline int __any_sync(unsigned mask, int vote) { return emu::ballot(mask, vote, "__any_sync") != 0; }
inline int __all_sync(unsigned mask, int vote) { return emu::ballot(mask, !vote, "__all_sync") == 0; }

template <class To, class From> To emu_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "reinterprets equal sizes");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
inline float __uint_as_float(unsigned x) { return emu_bits<float>(x); }
inline unsigned __float_as_uint(float x) { return emu_bits<unsigned>(x); }
inline float __int_as_float(int x) { return emu_bits<float>(x); }
inline int __float_as_int(float x) { return emu_bits<int>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }

template <class T> T min(T a, T b) { return b < a ? b : a; }
template <class T> T max(T a, T b) { return a < b ? b : a; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
namespace emu {
float off_by(float y, float relative);
}
// As far off as the device may be.
inline float __fdividef(float a, float b) { return emu::off_by(a / b, 0x1p-22f); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
template <class T> T __ldg(const T* p) { return *p; }

// A kernel takes one struct of parameters, and blocks of one size.
#define EMU_KERNEL(name, Params, threads)                                                                       \
    static void name(const Params& p);                                                                         \
    static void emu_enter_##name(const void* p) { name(*static_cast<const Params*>(p)); }                      \
    static const emu::Kernel emu_kernel_##name(#name, emu_enter_##name, sizeof(Params), threads);              \
    static void name(const Params& p)
