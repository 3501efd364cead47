// From the public StackInput rows to one LlamaStack::Forward and back.
#ifndef CSM_MODEL_STACK_CALL_H_
#define CSM_MODEL_STACK_CALL_H_

#include <functional>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "csm/csm.hpp"
#include "model/llama_stack.h"

namespace csm::model {

/// Writes what the first layer reads for a row: [positions, hidden_size] at `out`.
using EmbedRow = std::function<void(const StackInput& input, float* out)>;

/// Positions of a row. Throws ArgumentError unless exactly one kind of input is given, not empty,
/// with as many position_ids as positions if there are any.
int64_t NumPositions(const StackInput& input);

/// Checks and embeds every row (inputs_embeds must have `embeds_width` columns) and runs the stack.
/// Logits stay empty.
std::vector<StackOutput> CallStack(const LlamaStack& stack, int64_t embeds_width,
                                   std::span<const StackInput> batch, const ForwardOptions& options,
                                   ThreadPool& pool, const EmbedRow& embed);

/// The positions whose logits are wanted: [first, positions).
int64_t FirstLogitPosition(int64_t positions, const ForwardOptions& options);

}  // namespace csm::model

#endif  // CSM_MODEL_STACK_CALL_H_
