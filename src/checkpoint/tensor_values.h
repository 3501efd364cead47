// The values of a stored tensor in another type.
#ifndef CSM_CHECKPOINT_TENSOR_VALUES_H_
#define CSM_CHECKPOINT_TENSOR_VALUES_H_

#include <cstddef>

#include "checkpoint/tensor_store.h"

namespace csm::checkpoint {

/// Elements of a tensor whose type is a DType.
size_t NumElements(const TensorView& tensor);

/// The type that a matrix of `cols` columns gets if `wanted` is asked for: rows that do not divide
/// into blocks stay 16-bit.
DType MatrixType(DType stored, DType wanted, size_t cols);

/// Converts elements [begin, begin + count) to `to_type`, which is not quantized, rounding to
/// nearest even. The tensor's bytes may be unaligned (safetensors promises no alignment); of a
/// quantized one whole blocks are converted. `to` is aligned to its element.
void ConvertElements(const TensorView& tensor, size_t begin, size_t count, void* to, DType to_type);

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_TENSOR_VALUES_H_
