//! The product of NVIDIA's own library, cuBLASLt: what `hilberg bench` holds the program's products and its head against on a GPU. Nothing else asks for it. The library is
//! looked for when it is asked for; where it, or a function of it, is missing, that is said in a line.

use super::device::Device;
use super::gpu::{Gpu, GpuMemory};
use super::mat::{Mat, Weight, padded};
use super::twin::Cuda;
use crate::error::{Error, OneLine, Result, caught};
use crate::tensor::Dtype;
use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys;
use std::ptr;

/// Bytes that an algorithm may use beside its matrices: what NVIDIA recommends for sm_90.
const WORKSPACE: usize = 32 << 20;

/// Runs what is timed: handed over to the device, in order with all else.
pub type Run<'c> = Box<dyn FnMut() -> Result<()> + Send + 'c>;

/// out = x · Wᵀ, operands of one type, sums in float32.
#[derive(Clone, Copy, Debug)]
pub struct LibraryProduct {
    /// `[rows, stride]`, of which `inputs` columns are read.
    pub x: u64,
    /// `[outputs, stride]`, likewise.
    pub weight: u64,
    /// `[rows, out_stride]`: `outputs` columns are written.
    pub out: u64,
    /// Rows of x.
    pub rows: usize,
    /// Columns of x and of the weights.
    pub inputs: usize,
    /// Rows of the weights.
    pub outputs: usize,
    /// From one row of x, and of the weights, to the next.
    pub stride: usize,
    /// From one row of what comes out to the next.
    pub out_stride: usize,
    /// Of x and the weights.
    pub operands: Dtype,
    /// Of what comes out.
    pub results: Dtype,
}

/// The library and how it is used, or why there is none, in a line.
pub(super) fn found() -> Result<String, String> {
    // Asked first, since loading panics where there is nothing to load.
    // SAFETY: loads a library from the system's usual places.
    if !unsafe { sys::is_culib_present() } {
        return Err("NVIDIA's cuBLASLt (libcublasLt) is not installed".into());
    }
    // SAFETY: reads a number.
    let version = caught(|| unsafe { sys::cublasLtGetVersion() }).map_err(|why| lacking(&why))?;
    Ok(format!("cuBLASLt {version}, float32 sums (COMPUTE_32F), the first algorithm of its heuristic with a workspace of {} MiB", WORKSPACE >> 20))
}

fn lacking(why: &str) -> String {
    format!("cuBLASLt lacks what is needed: {}", OneLine(why))
}

/// What the library gives; a function that it lacks would be a panic.
fn guarded<T>(doing: &str, work: impl FnOnce() -> Result<T, CublasError>) -> Result<T> {
    let done = caught(work).map_err(|why| Error::input(lacking(&why)))?;
    done.map_err(|e| Error::input(format!("cuBLASLt: {doing}: {:?}", e.0)))
}

fn kind(dtype: Dtype) -> sys::cudaDataType {
    match dtype {
        Dtype::F32 => sys::cudaDataType::CUDA_R_32F,
        Dtype::Bf16 => sys::cudaDataType::CUDA_R_16BF,
        Dtype::F16 => sys::cudaDataType::CUDA_R_16F,
    }
}

/// A product with its algorithm.
struct Plan<'g> {
    gpu: &'g Gpu,
    of: LibraryProduct,
    /// All null until made.
    handle: sys::cublasLtHandle_t,
    operation: sys::cublasLtMatmulDesc_t,
    /// Of the weights, x and what comes out.
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
    workspace: GpuMemory,
}

// SAFETY: one thread at a time uses it, and sets the device's context first.
unsafe impl Send for Plan<'_> {}

impl<'g> Plan<'g> {
    fn new(gpu: &'g Gpu, of: LibraryProduct) -> Result<Self> {
        let (workspace, algorithm) = (gpu.allocate(WORKSPACE)?, sys::cublasLtMatmulAlgo_t { data: [0; 8] });
        let mut plan = Plan { gpu, of, handle: ptr::null_mut(), operation: ptr::null_mut(), layouts: [ptr::null_mut(); 3], algorithm, workspace };
        gpu.stream()?;
        guarded("planning a product", || plan.fill())?;
        Ok(plan)
    }

    /// The library counts columns first, and a matrix of rows is its transpose's columns: outᵀ = W · xᵀ, W to be transposed as it lies.
    fn fill(&mut self) -> Result<(), CublasError> {
        let of = self.of;
        self.handle = result::create_handle()?;
        self.operation = result::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, sys::cudaDataType::CUDA_R_32F)?;
        // CUBLAS_OP_T, whose type is another library's.
        let transposed = 1i32;
        let which = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA;
        // SAFETY: the attribute is of this type, and copied.
        unsafe { result::set_matmul_desc_attribute(self.operation, which, (&raw const transposed).cast(), size_of_val(&transposed)) }?;
        let (operands, results) = (kind(of.operands), kind(of.results));
        let shapes = [(operands, of.inputs, of.outputs, of.stride), (operands, of.inputs, of.rows, of.stride), (results, of.outputs, of.rows, of.out_stride)];
        for (layout, (kind, rows, columns, stride)) in self.layouts.iter_mut().zip(shapes) {
            *layout = result::create_matrix_layout(kind, rows as u64, columns as u64, stride as i64)?;
        }
        let preference = result::create_matmul_pref()?;
        let which = sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        let ([weight, x, out], workspace) = (self.layouts, WORKSPACE as u64);
        // SAFETY: the attribute is of this type, and copied; all descriptors were just made, and the preference is given back once.
        let first = unsafe {
            let set = result::set_matmul_pref_attribute(preference, which, (&raw const workspace).cast(), size_of_val(&workspace));
            let first = set.and_then(|()| result::get_matmul_algo_heuristic(self.handle, self.operation, weight, x, out, out, preference));
            let _ = result::destroy_matmul_pref(preference);
            first?
        };
        self.algorithm = first.algo;
        Ok(())
    }

    fn run(&self) -> Result<()> {
        let (of, stream) = (&self.of, self.gpu.stream()?);
        let (one, zero) = (1.0f32, 0.0f32);
        let [weight, x, out] = self.layouts;
        // SAFETY: whoever made the plan keeps the matrices; the factors are float32, as the operation's scale, and read before this returns.
        guarded("multiplying", || unsafe {
            result::matmul(
                self.handle,
                self.operation,
                (&raw const one).cast(),
                (&raw const zero).cast(),
                of.weight as *const _,
                weight,
                of.x as *const _,
                x,
                of.out as *const _,
                out,
                of.out as *mut _,
                out,
                &self.algorithm,
                self.gpu.address(&self.workspace) as *mut _,
                WORKSPACE,
                stream.cast(),
            )
        })
    }
}

impl Drop for Plan<'_> {
    fn drop(&mut self) {
        if self.gpu.stream().is_err() {
            return;
        }
        // What fails while it goes cannot be mended.
        // SAFETY: what was made is given back once.
        let _ = caught(|| unsafe {
            for layout in self.layouts.into_iter().filter(|l| !l.is_null()) {
                let _ = result::destroy_matrix_layout(layout);
            }
            if !self.operation.is_null() {
                let _ = result::destroy_matmul_desc(self.operation);
            }
            if !self.handle.is_null() {
                let _ = result::destroy_handle(self.handle);
            }
        });
    }
}

/// As [`Device::library_product`].
pub(super) unsafe fn product(gpu: &Gpu, of: LibraryProduct) -> Result<Run<'_>> {
    found().map_err(Error::input)?;
    let plan = Plan::new(gpu, of)?;
    Ok(Box::new(move || plan.run()))
}

/// A product by a device's own library, with its matrices.
pub struct Multiplied<'c, D: Device> {
    run: Run<'c>,
    out: Mat<D>,
    _operands: (Mat<D>, Weight<D>),
}

impl<D: Device> Multiplied<'_, D> {
    /// Hands it over.
    ///
    /// # Errors
    /// The device or the library fails.
    pub fn run(&mut self) -> Result<()> {
        (self.run)()
    }

    /// What comes out, in rows as wide as a multiple of 8.
    pub fn out(&self) -> &Mat<D> {
        &self.out
    }
}

impl<D: Device> Cuda<D> {
    /// The product of x with a weight by the device's own library, which writes numbers of this type.
    ///
    /// # Errors
    /// There is no library, no memory, or no algorithm for such matrices.
    pub fn library_product(&self, x: Mat<D>, weight: Weight<D>, results: Dtype) -> Result<Multiplied<'_, D>> {
        if x.dtype != weight.dtype || x.cols != weight.stride() {
            return Err(Error::input(format!("rows of {} numbers are not multiplied as they lie", x.cols)));
        }
        let out_stride = padded(weight.outputs, Dtype::Bf16);
        let out = Mat { memory: self.device.allocate(x.rows * out_stride * results.size())?, rows: x.rows, cols: out_stride, dtype: results };
        let of = LibraryProduct {
            x: self.at(&x, 0, 0),
            weight: self.device.address(&weight.memory),
            out: self.at(&out, 0, 0),
            rows: x.rows,
            inputs: weight.inputs,
            outputs: weight.outputs,
            stride: weight.stride(),
            out_stride,
            operands: x.dtype,
            results,
        };
        // SAFETY: the matrices are of these sizes, and held as long as what is run.
        let run = unsafe { self.device.library_product(of)? };
        Ok(Multiplied { run, out, _operands: (x, weight) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On whatever machine this runs: a library or a reason, of one line, and no panic.
    #[test]
    fn there_is_a_library_or_a_reason() {
        let (Ok(told) | Err(told)) = found();
        assert!(told.contains("cuBLASLt") && !told.contains('\n'), "{told}");
        let fails: Result<()> = guarded("trying", || panic!("Expected symbol in library:\nsome text"));
        let told = fails.unwrap_err().to_string();
        assert!(told.starts_with("cuBLASLt lacks what is needed") && !told.contains('\n'), "{told}");
        let fails: Result<()> = guarded("trying", || Err(CublasError(sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED)));
        assert_eq!(fails.unwrap_err().to_string(), "cuBLASLt: trying: CUBLAS_STATUS_NOT_SUPPORTED");
    }
}
