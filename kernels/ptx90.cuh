// Instructions of sm_90a, each behind a function as in ptx.cuh: barriers in shared memory, bulk copies of tensors, products of a warpgroup. For other targets the functions
// are not there; kernels that use them end in a trap then.
//
// Source: PTX ISA 8.x, "mbarrier", "Data Movement: cp.async.bulk.tensor", "Asynchronous Warpgroup Level Matrix Instructions".
#pragma once
#include "ptx.cuh"

// A stretch of device memory as rows, from which boxes are copied: what the driver encodes, or the emulator.
struct alignas(128) TensorMap {
    uint64_t words[16];
};

// Threads that multiply together.
constexpr int WARPGROUP = 128;
// Accumulators of a lane for a product of 64 × 256.
constexpr int WARPGROUP_NUMBERS = 128;

#ifndef __CUDACC__
#define HOPPER 1
#include "ptx90.h"
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HOPPER 1

// A barrier of 8 bytes in shared memory. A phase of it is over once `count` arrivals have come, and all bytes that were announced; then the next begins.
__device__ __forceinline__ void mbarrier_init(uint64_t* barrier, uint32_t count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
}
// After all inits, before others use them: copies see them, too.
__device__ __forceinline__ void mbarrier_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ __forceinline__ void mbarrier_arrive(uint64_t* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// Arrives, and announces bytes that copies will bring in this phase.
__device__ __forceinline__ void mbarrier_expect(uint64_t* barrier, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}
// Waits until the phase of this parity is over: that of the first phase is 0.
__device__ __forceinline__ void mbarrier_wait(uint64_t* barrier, uint32_t parity) {
    uint32_t over;
    do {
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(over)
                     : "r"(shared_address(barrier)), "r"(parity)
                     : "memory");
    } while (!over);
}

// Copies a box of 64 numbers × 128 rows of 16-bit numbers from column x and row y on, zeros past the ends, to rows of 128 bytes whose eighths are turned by the row (the
// 128-byte swizzle; `to` is aligned to 1,024). Counts for 16,384 bytes of the barrier. One thread calls it.
__device__ __forceinline__ void copy_box(void* to, const TensorMap* map, uint32_t x, uint32_t y, uint64_t* barrier) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(to)), "l"(map),
                 "r"(shared_address(barrier)), "r"(x), "r"(y)
                 : "memory");
}

// Waits for the threads of some warps: `count` of them, at one of the barriers 1 to 15.
__device__ __forceinline__ void barrier_of(int which, int count) { asm volatile("bar.sync %0, %1;" ::"r"(which), "r"(count) : "memory"); }

// Registers of each thread of a warpgroup from here on.
template <int registers> __device__ __forceinline__ void fewer_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers)); }
template <int registers> __device__ __forceinline__ void more_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers)); }

// Rows as copy_box leaves them: groups of eight, 1,024 bytes apart. `column` is a multiple of 16.
__device__ __forceinline__ uint64_t operand_of(const void* tile, int column) {
    return uint64_t((shared_address(tile) + column * 2 & 0x3ffff) >> 4) | uint64_t(1) << 16 | uint64_t(1024 >> 4) << 32 | uint64_t(1) << 62;
}

// After writing operands to shared memory and before the barrier that others wait at: products see what this thread wrote.
__device__ __forceinline__ void products_see_writes() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Before the first product after accumulators were touched.
__device__ __forceinline__ void products_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits until at most `pending` groups of products are under way; accumulators must not be touched before all are done.
template <int pending> __device__ __forceinline__ void products_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory"); }
// Waits for all.
__device__ __forceinline__ void products_done(float (&c)[WARPGROUP_NUMBERS]) {
    products_wait<0>();
    // The compiler may not move what reads them before it.
#pragma unroll
    for (int i = 0; i < WARPGROUP_NUMBERS; i++) asm volatile("" : "+f"(c[i])::"memory");
}

// c [64, 256] = a [64, 16] · b [256, 16]ᵀ, plus c where `add`: under way until it is waited for. Lane l of warp w has the numbers (16 w + l / 4 + 8 i, 8 n + 2 (l % 4) + j) as
// c[4 n + 2 i + j].
#define HOPPER_PRODUCT(T, name)                                                                                                              \
    __device__ __forceinline__ void product_64_256_16(float (&c)[WARPGROUP_NUMBERS], uint64_t a, uint64_t b, bool add, T) {                  \
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %130, 0; wgmma.mma_async.sync.aligned.m64n256k16.f32." name "." name " {"               \
                     HOPPER_NUMBERS "}, %128, %129, p, 1, 1, 0, 0; }"                                                                        \
                     : HOPPER_16(0), HOPPER_16(16), HOPPER_16(32), HOPPER_16(48), HOPPER_16(64), HOPPER_16(80), HOPPER_16(96), HOPPER_16(112) \
                     : "l"(a), "l"(b), "r"(int(add)));                                                                                       \
    }
#define HOPPER_4(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define HOPPER_16(i) HOPPER_4(i), HOPPER_4(i + 4), HOPPER_4(i + 8), HOPPER_4(i + 12)
#define HOPPER_NUMBERS \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
HOPPER_PRODUCT(bf16, "bf16")
HOPPER_PRODUCT(f16, "f16")

#endif
