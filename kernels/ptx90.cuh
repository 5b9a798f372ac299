// Instructions of sm_90a, each behind a function as in ptx.cuh: barriers in shared memory, bulk copies of tensors, products of a warpgroup. For other targets the functions
// are not there; kernels that use them end in a trap then.
//
// Source: PTX ISA 8.x, "mbarrier", "Data Movement: cp.async.bulk.tensor", "Asynchronous Warpgroup Level Matrix Instructions".
#pragma once
#include "ptx.cuh"

// Planes of rows of 16-bit numbers in device memory, from which boxes are copied: what the driver encodes, or the emulator.
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

// Copies a box of a map from column x, row y and plane z on, zeros past the ends, to rows as Turned has them; `to` is aligned to eight of them. Counts for all bytes of the box at the
// barrier. One thread calls it.
__device__ __forceinline__ void copy_box(void* to, const TensorMap* map, uint32_t x, uint32_t y, uint32_t z, uint64_t* barrier) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(shared_address(to)), "l"(map),
                 "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z)
                 : "memory");
}

// Waits for the threads of some warps: `count` of them, at one of the barriers 1 to 15.
__device__ __forceinline__ void barrier_of(int which, int count) { asm volatile("bar.sync %0, %1;" ::"r"(which), "r"(count) : "memory"); }
// Is one of them without waiting.
__device__ __forceinline__ void barrier_arrive_at(int which, int count) { asm volatile("bar.arrive %0, %1;" ::"r"(which), "r"(count) : "memory"); }

// Registers of each thread of a warpgroup from here on.
template <int registers> __device__ __forceinline__ void fewer_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers)); }
template <int registers> __device__ __forceinline__ void more_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers)); }

// After writing operands to shared memory and before the barrier that others wait at: products see what this thread wrote.
__device__ __forceinline__ void products_see_writes() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Before the first product after accumulators were touched.
__device__ __forceinline__ void products_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits until at most `pending` groups of products are under way; accumulators, and operands in registers, must not be touched before theirs are done.
template <int pending> __device__ __forceinline__ void products_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory"); }
// A wait that follows comes once x, which is not below 0, is known: left to itself, the assembler moves waits for products up, and what should be computed meanwhile behind them. It
// moves none across an instruction that may sleep.
__device__ __forceinline__ void first_comes(float x) { asm volatile("{ .reg .pred p; setp.lt.f32 p, %0, 0f00000000; @p nanosleep.u32 1; }" ::"f"(x) : "memory"); }
// The same, where these sums are of groups that are done then.
template <int pending = 0, int N> __device__ __forceinline__ void products_done(float (&c)[N]) {
    products_wait<pending>();
    // The compiler may not move what reads them before it.
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(c[i])::"memory");
}

// c [64, N] = a [64, 16] · b [N, 16]ᵀ, plus c where `add`: under way until it is waited for. a and b lie as rows_of() says. Lane l of warp w has the numbers
// (16 w + l / 4 + 8 i, 8 n + 2 (l % 4) + j) as c[4 n + 2 i + j].
#define HOPPER_PRODUCT(T, name, N, numbers, c_numbers, a_at, b_at, add_at)                                                                        \
    __device__ __forceinline__ void product(float (&c)[N / 2], uint64_t a, uint64_t b, bool add, T) {                                            \
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #add_at ", 0; wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." name "." name " {" numbers \
                     "}, %" #a_at ", %" #b_at ", p, 1, 1, 0, 0; }"                                                                                \
                     : c_numbers                                                                                                                 \
                     : "l"(a), "l"(b), "r"(int(add)));                                                                                           \
    }
// c [64, N] += a [64, 16] · b [16, N]. a is in registers as mma_16816 has it, each warp with its 16 rows; b lies as columns_of() says.
#define HOPPER_MIXTURE(T, name, N, numbers, c_numbers, a0, a1, a2, a3, b_at)                                                                     \
    __device__ __forceinline__ void mixture(float (&c)[N / 2], const uint32_t (&a)[4], uint64_t b, T) {                                          \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." name "." name " {" numbers "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, " \
                     "%" #b_at ", 1, 1, 1, 1;"                                                                                                   \
                     : c_numbers                                                                                                                 \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                                                      \
    }
#define HOPPER_4(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define HOPPER_16(i) HOPPER_4(i), HOPPER_4(i + 4), HOPPER_4(i + 8), HOPPER_4(i + 12)
#define HOPPER_C_32 HOPPER_16(0), HOPPER_16(16)
#define HOPPER_C_48 HOPPER_C_32, HOPPER_16(32)
#define HOPPER_C_64 HOPPER_C_48, HOPPER_16(48)
#define HOPPER_C_96 HOPPER_C_64, HOPPER_16(64), HOPPER_16(80)
#define HOPPER_C_128 HOPPER_C_96, HOPPER_16(96), HOPPER_16(112)
#define HOPPER_32 \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define HOPPER_48 HOPPER_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define HOPPER_64 HOPPER_48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define HOPPER_96 \
    HOPPER_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define HOPPER_128 \
    HOPPER_96 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define HOPPER_PRODUCTS(T, name)                                               \
    HOPPER_PRODUCT(T, name, 64, HOPPER_32, HOPPER_C_32, 32, 33, 34)            \
    HOPPER_PRODUCT(T, name, 128, HOPPER_64, HOPPER_C_64, 64, 65, 66)           \
    HOPPER_PRODUCT(T, name, 256, HOPPER_128, HOPPER_C_128, 128, 129, 130)      \
    HOPPER_MIXTURE(T, name, 64, HOPPER_32, HOPPER_C_32, 32, 33, 34, 35, 36)    \
    HOPPER_MIXTURE(T, name, 96, HOPPER_48, HOPPER_C_48, 48, 49, 50, 51, 52)    \
    HOPPER_MIXTURE(T, name, 128, HOPPER_64, HOPPER_C_64, 64, 65, 66, 67, 68)   \
    HOPPER_MIXTURE(T, name, 192, HOPPER_96, HOPPER_C_96, 96, 97, 98, 99, 100)  \
    HOPPER_MIXTURE(T, name, 256, HOPPER_128, HOPPER_C_128, 128, 129, 130, 131, 132)
HOPPER_PRODUCTS(bf16, "bf16")
HOPPER_PRODUCTS(f16, "f16")

#endif

#ifdef HOPPER

// Rows of 16-bit numbers in shared memory as copy_box leaves them, COLUMNS a row: 64 with the 128-byte swizzle, 32 with that of 64 bytes. Its units are 16 bytes, and it repeats
// every eight rows.
template <int COLUMNS> struct Turned {
    static_assert(COLUMNS == 64 || COLUMNS == 32, "rows of 128 or 64 bytes");
    static constexpr uint32_t EIGHT_ROWS = 8 * COLUMNS * 2;
    // Of a row's 16 bytes, counted from 0: where they lie, in bytes. Of the byte's place the bits 4 to 6 are turned by the bits 7 to 9; or 4 and 5 by 7 and 8, where two rows share 128 bytes.
    static __device__ __forceinline__ uint32_t place(uint32_t row, uint32_t sixteenth) {
        return row * COLUMNS * 2 + (sixteenth ^ (COLUMNS == 64 ? row % 8 : row / 2 % 4)) * 16;
    }
    // What the device is told of where an operand of a product lies (PTX ISA, "Matrix Descriptor Format"): address, two distances in units of 16 bytes, and the swizzle, 1 for that of
    // 128 bytes and 2 for that of 64. The pattern begins at the address's multiple of eight rows, so that the base offset (bits 49 to 51) is 0.
    static __device__ __forceinline__ uint64_t descriptor(uint32_t address, uint32_t leading) {
        return uint64_t((address & 0x3ffff) >> 4) | uint64_t(leading >> 4) << 16 | uint64_t(EIGHT_ROWS >> 4) << 32 | uint64_t(COLUMNS == 64 ? 1 : 2) << 62;
    }
};
// Rows of an operand whose inner index runs along them, 16 columns from `column` on (a multiple of 16, within the box): "K-major", whose groups of eight rows follow each other; the
// leading distance is not read.
template <int COLUMNS = 64> __device__ __forceinline__ uint64_t rows_of(const void* box, int column) {
    return Turned<COLUMNS>::descriptor(shared_address(box) + column * 2, 16);
}
// Columns of an operand whose inner index runs across the rows, 16 rows from `row` on (a multiple of 8): "MN-major"; the next COLUMNS columns lie in the next box, box_bytes further on.
template <int COLUMNS = 64> __device__ __forceinline__ uint64_t columns_of(const void* box, int row, uint32_t box_bytes) {
    return Turned<COLUMNS>::descriptor(shared_address(box) + row * COLUMNS * 2, box_bytes);
}

#endif
