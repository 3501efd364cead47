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


def likely(before: np.ndarray, after: np.ndarray, size: int) -> tuple[Tensor, Tensor]:
    """[size, size]: how often each former code (column) was where the new code (row) is; and the new codes' uses."""
    counts = torch.zeros(size, size)
    counts.index_put_((torch.from_numpy(after), torch.from_numpy(before)), torch.ones(len(after)), accumulate=True)
    uses = counts.sum(1)
    return counts / uses.clamp(min=1)[:, None], uses


def _embeddings(old: Tensor, new: Tensor, before: np.ndarray, after: np.ndarray, size: int) -> Tensor:
    """The semantic code's are means of the former's. The acoustic ones' sums come as near to the former sums as they
    can: the backbone is given nothing else."""
    vocabulary_old, vocabulary = len(old) // before.shape[1], len(new) // after.shape[1]
    found = new.clone()
    shares, uses = likely(before[:, 0], after[:, 0], size)
    known = uses >= MIN_USES
    found[:size][known] = (shares @ old[:size])[known]
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
    shares, uses = likely(before[:, 0], after[:, 0], size)
    known = uses >= MIN_USES
    found[HEAD] = old[HEAD].clone()
    found[HEAD][:size][known] = (shares @ old[HEAD][:size])[known]
    heads = new[DEPTH_HEADS].clone()
    for book in range(1, min(before.shape[1], after.shape[1])):
        shares, uses = likely(before[:, book], after[:, book], size)
        known = uses >= MIN_USES
        heads[book - 1][:, :size][:, known] = (shares @ old[DEPTH_HEADS][book - 1][:, :size].T)[known].T
    found[DEPTH_HEADS] = heads
    return found
