//! The element-wise functions that models name and backends compute: a plain type, everyone's.

/// Element-wise functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x
    None,
    /// max(x, 0)
    Relu,
    /// max(x, 0)²
    Relu2,
    /// x / (1 + e^−x)
    Silu,
    /// x Φ(x), by the error function
    Gelu,
    /// x Φ(x), by tanh
    GeluTanh,
}
