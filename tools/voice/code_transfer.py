"""What a language model knows of one codec's codes, as far as it holds for another's, of the same recordings.

`before` and `after`, [frames, codebooks]: codes of the same frames by the codec that the model knows and by the one
that it shall know. Tensors are by transformers' names, in f32; rows of codes beyond a codebook (the end, padding) stay.
"""

import numpy as np
import torch
from torch import Tensor

EMBEDDINGS = "depth_decoder.model.embed_tokens.weight"  # [codebooks * vocabulary, hidden]; the backbone's too
HEAD = "lm_head.weight"  # [vocabulary, hidden]
DEPTH_HEADS = "depth_decoder.codebooks_head.weight"  # [codebooks - 1, hidden, vocabulary]
RIDGE = 20.0  # frames' worth of doubt in an embedding
MIN_USES = 5  # of a code, to say what it means


def means(values: Tensor, otherwise: Tensor, before: np.ndarray, after: np.ndarray) -> Tensor:
    """For each new code, the mean of the former codes' `values`, [codes, dim], where it is; rare ones: `otherwise`."""
    size = len(values)
    counts = torch.zeros(size, size)
    counts.index_put_((torch.from_numpy(after), torch.from_numpy(before)), torch.ones(len(after)), accumulate=True)
    uses = counts.sum(1, keepdim=True)
    return torch.where(uses >= MIN_USES, counts / uses.clamp(min=1) @ values, otherwise)


def _embeddings(old: Tensor, new: Tensor, before: np.ndarray, after: np.ndarray, size: int) -> Tensor:
    """The semantic code's are means of the former's. The acoustic ones' sums come as near to the former sums as they
    can: the backbone is given nothing else."""
    vocabulary_old, vocabulary = len(old) // before.shape[1], len(new) // after.shape[1]
    found = new.clone()
    found[:size] = means(old[:size], new[:size], before[:, 0], after[:, 0])
    found[0] = old[0]  # of the end
    wanted = sum(old[before[:, book] + book * vocabulary_old] for book in range(before.shape[1]))
    rest = wanted - found[after[:, 0]]
    columns = torch.from_numpy(after[:, 1:] + size * np.arange(after.shape[1] - 1))
    total = size * columns.shape[1]
    products, sums = torch.zeros(total, total), torch.zeros(total, old.shape[1])
    for a in range(columns.shape[1]):
        sums.index_add_(0, columns[:, a], rest)
        for b in range(columns.shape[1]):
            products.index_put_((columns[:, a], columns[:, b]), torch.ones(len(rest)), accumulate=True)
    solved = torch.linalg.solve(products + RIDGE * torch.eye(total), sums)
    for book in range(1, after.shape[1]):
        first = book * vocabulary
        found[first : first + size] = solved[(book - 1) * size : book * size]
    return found


def carry_over(
    old: dict[str, Tensor], new: dict[str, Tensor], before: np.ndarray, after: np.ndarray, size: int
) -> dict[str, Tensor]:
    """The tensors of codes for a model of the new codec; `size`: codes of a codebook."""
    before, after = before.astype(np.int64), after.astype(np.int64)
    found = {EMBEDDINGS: _embeddings(old[EMBEDDINGS], new[EMBEDDINGS], before, after, size)}
    found[HEAD] = old[HEAD].clone()
    found[HEAD][:size] = means(old[HEAD][:size], old[HEAD][:size], before[:, 0], after[:, 0])
    found[DEPTH_HEADS] = new[DEPTH_HEADS].clone()
    for book in range(1, min(before.shape[1], after.shape[1])):
        known, fresh = (weights[DEPTH_HEADS][book - 1, :, :size].T for weights in (old, new))
        found[DEPTH_HEADS][book - 1, :, :size] = means(known, fresh, before[:, book], after[:, book]).T
    return found
