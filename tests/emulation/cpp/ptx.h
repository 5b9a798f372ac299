// The instructions of kernels/ptx.cuh for the processor: the same contracts, and a fault where a device would have none to give.
#pragma once
#include "cuda_bf16.h"
#include "cuda_fp16.h"

namespace emu {
uint32_t shared_address(const void* p);
void copy(void* to, const void* from, int size, int valid);
void copies_commit();
void copies_wait(int pending);
void load_matrices(uint32_t* r, const void* row, bool transposed);
void multiply_add(float* c, const uint32_t* a, uint32_t b0, uint32_t b1, float (*widen)(uint16_t));
float from_bf16(uint16_t bits);
float from_f16(uint16_t bits);
// A number this near to y, up or down by the bits of y, the same for the same y.
float off_by(float y, float relative);
} // namespace emu

// From the beginning of the block's shared memory on.
inline uint32_t shared_address(const void* p) { return emu::shared_address(p); }
// As far off as the device may be, so that a budget which the emulator meets does not lean on a better exponential.
inline float exp2_approx(float x) { return emu::off_by(exp2f(x), 0x1p-22f); }
inline void cp_async16(void* to, const void* from, int valid = 16) { emu::copy(to, from, 16, valid); }
inline void cp_async4(void* to, const void* from, bool there) { emu::copy(to, from, 4, there ? 4 : 0); }
inline void cp_async_commit() { emu::copies_commit(); }
template <int pending> void cp_async_wait() { emu::copies_wait(pending); }
inline void ldmatrix_x4(uint32_t (&r)[4], const void* row) { emu::load_matrices(r, row, false); }
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) { emu::load_matrices(r, row, true); }
inline void mma_16816(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, __nv_bfloat16) { emu::multiply_add(c, a, b0, b1, emu::from_bf16); }
inline void mma_16816(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, __half) { emu::multiply_add(c, a, b0, b1, emu::from_f16); }
