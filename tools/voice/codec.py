"""The codec: transformers' MimiModel, and what its quantizer needs to be trained."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from transformers import CsmForConditionalGeneration, MimiConfig, MimiModel
from transformers.utils import logging

from csm_tools.recipes import RecipeError
from settings import SAMPLING_RATE, Settings

logging.set_verbosity_error()
logging.disable_progress_bar()

HELD_CODE = 0  # of codebook 0: never used, so that a frame of zeros means the end alone
COMMITMENT = 0.15
DECAY = 0.98  # of the means that codebooks are made of
DEAD = 0.03  # uses a step, on average, under which a code is put elsewhere
KMEANS_ROUNDS = 12


def make_config(settings: Settings) -> MimiConfig:
    heads = settings.codec_hidden // 64
    return MimiConfig(
        sampling_rate=SAMPLING_RATE,
        num_filters=settings.codec_filters,
        hidden_size=settings.codec_hidden,
        num_hidden_layers=settings.codec_layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=64,
        intermediate_size=settings.codec_ffn,
        sliding_window=settings.codec_window,
        num_quantizers=settings.num_codebooks,
        num_semantic_quantizers=1,
        codebook_size=settings.codebook_size,
        codebook_dim=settings.codebook_dim,
        vector_quantization_hidden_dimension=settings.codebook_dim,
        upsample_groups=settings.codec_hidden,
        layer_scale_initial_scale=0.2,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )


def make_codec(settings: Settings) -> MimiModel:
    torch.manual_seed(settings.seed)
    codec = MimiModel(make_config(settings))
    codec.config.use_cache = False
    return codec


def load_codec(file: Path, settings: Settings) -> MimiModel:
    codec = make_codec(settings)
    codec.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return codec


def whole_codec_of(voice: Path) -> MimiModel:
    """In a folder that `export` made, of its own sizes."""
    if not (voice / "config.json").is_file():
        raise RecipeError(f"{voice} is no voice of this recipe: there is no config.json")
    return CsmForConditionalGeneration.from_pretrained(voice, dtype=torch.float32).codec_model.eval()


def _weights_of(voice: Path) -> dict[str, torch.Tensor]:
    return whole_codec_of(voice).state_dict()


def codec_of(voice: Path, settings: Settings) -> MimiModel:
    codec = make_codec(settings)
    try:
        codec.load_state_dict(_weights_of(voice))
    except RuntimeError:
        raise RecipeError(f"the codec of {voice} has other sizes than these settings'") from None
    return codec


def transfer(voice: Path, codec: MimiModel) -> None:
    """The networks of another voice's codec; codes are made anew."""
    networks = {name: value for name, value in _weights_of(voice).items() if not name.startswith("quantizer.")}
    try:
        unexpected = codec.load_state_dict(networks, strict=False).unexpected_keys
    except RuntimeError:
        unexpected = list(networks)
    if unexpected:
        raise RecipeError(f"the codec of {voice} has other networks than these settings'")


def entries(codebook: nn.Module) -> torch.Tensor:
    return codebook.embed_sum / codebook.cluster_usage.clamp(min=codebook.epsilon)[:, None]


class CodebookTraining:
    """Keeps one codebook of the model as moving means of what was given its codes."""

    def __init__(self, codebook: nn.Module, held_code: int | None) -> None:
        self._codebook = codebook
        self._held = held_code

    def _nearest(self, inputs: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
        distances = centres.square().sum(1) - 2 * (inputs @ centres.T)
        if self._held is not None:
            distances[:, self._held] = torch.inf
        return distances.argmin(1)

    @torch.no_grad()
    def start(self, inputs: torch.Tensor) -> None:
        """k-means."""
        size = self._codebook.codebook_size
        drawn = torch.randint(len(inputs), (size,), device=inputs.device)
        centres = inputs[drawn] + 1e-4 * torch.randn_like(inputs[drawn])
        for _ in range(KMEANS_ROUNDS):
            uses, sums = self._count(inputs, self._nearest(inputs, centres))
            others = inputs[torch.randint(len(inputs), (size,), device=inputs.device)]
            centres = torch.where(uses[:, None] > 0, sums / uses.clamp(min=1)[:, None], others)
        uses = uses.clamp(min=0.5) * (256 / len(inputs))
        self._set(uses, centres * uses[:, None])

    @torch.no_grad()
    def __call__(self, inputs: torch.Tensor, weights: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantized inputs and their codes. With weights (0: does not count), the codebook learns."""
        centres = entries(self._codebook)
        codes = self._nearest(inputs, centres)
        if weights is not None:
            uses, sums = self._count(inputs, codes, weights)
            uses = DECAY * self._codebook.cluster_usage + (1 - DECAY) * uses
            sums = DECAY * self._codebook.embed_sum + (1 - DECAY) * sums
            self._set(*self._restarted(uses, sums, inputs))
        return centres[codes], codes

    def _restarted(
        self, uses: torch.Tensor, sums: torch.Tensor, inputs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes that nothing is near to are put where an input is."""
        is_dead = uses < DEAD
        others = inputs[torch.randint(len(inputs), (len(uses),), device=inputs.device)]
        fresh = 10 * DEAD
        return torch.where(is_dead, fresh, uses), torch.where(is_dead[:, None], others * fresh, sums)

    def _count(
        self, inputs: torch.Tensor, codes: torch.Tensor, weights: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        weights = inputs.new_ones(len(inputs)) if weights is None else weights
        uses = inputs.new_zeros(self._codebook.codebook_size).index_add_(0, codes, weights)
        sums = torch.zeros_like(self._codebook.embed_sum).index_add_(0, codes, inputs * weights[:, None])
        return uses, sums

    def _set(self, uses: torch.Tensor, sums: torch.Tensor) -> None:
        self._codebook.cluster_usage.copy_(uses)
        self._codebook.embed_sum.copy_(sums)
        self._codebook._embed = None  # transformers keeps the quotient


class Quantized:
    def __init__(self, latents: torch.Tensor, semantic: torch.Tensor, commitment: torch.Tensor) -> None:
        self.latents = latents  # [batch, hidden, frames], with the gradient of the inputs
        self.semantic = semantic  # [batch, frames, dim]
        self.commitment = commitment


class QuantizerTraining:
    """The split residual quantizer, straight through; windows may lose their last acoustic codebooks (dropout).

    The semantic code learns nothing from what is made of it: voice, pitch and loudness would get into it, and the
    language model would have to foresee them before it knows what is said.
    """

    def __init__(self, codec: MimiModel, dropout: float) -> None:
        quantizer = codec.quantizer
        self._semantic = quantizer.semantic_residual_vector_quantizer
        self._acoustic = quantizer.acoustic_residual_vector_quantizer
        self._semantic_books = [CodebookTraining(self._semantic.layers[0].codebook, HELD_CODE)]
        self._acoustic_books = [CodebookTraining(layer.codebook, None) for layer in self._acoustic.layers]
        self._dropout = dropout
        self._device = self._semantic.input_proj.weight.device

    @torch.no_grad()
    def start(self, latents: torch.Tensor) -> None:
        for part, books in self._parts():
            rest = _rows(part.input_proj(latents))
            for book in books:
                book.start(rest)
                rest = rest - book(rest, None)[0]

    def unquantized(self, latents: torch.Tensor) -> Quantized:
        """Before the codebooks are there: only what the projections make of it."""
        semantic = self._semantic.input_proj(latents)
        acoustic = self._acoustic.input_proj(latents)
        out = self._semantic.output_proj(semantic.detach()) + self._acoustic.output_proj(acoustic)
        return Quantized(out, semantic.transpose(1, 2), latents.new_zeros(()))

    def __call__(self, latents: torch.Tensor) -> Quantized:
        out, commitment, semantic = 0.0, latents.new_zeros(()), latents
        for part, books in self._parts():
            projected = part.input_proj(latents)
            batch, _, frames = projected.shape
            kept = len(books) * latents.new_ones(batch) if part is self._semantic else self._num_kept(len(books), batch)
            straight, loss = self._residual(_rows(projected), books, kept.repeat_interleave(frames))
            straight = straight.view(batch, frames, -1)
            commitment = commitment + loss
            if part is self._semantic:
                semantic, straight = straight, straight.detach()
            out = out + part.output_proj(straight.transpose(1, 2))
        return Quantized(out, semantic, commitment)

    def _parts(self):
        return (self._semantic, self._semantic_books), (self._acoustic, self._acoustic_books)

    def _residual(
        self, inputs: torch.Tensor, books: list[CodebookTraining], kept: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rest, total = inputs, torch.zeros_like(inputs)
        loss = inputs.new_zeros(())
        for level, book in enumerate(books):
            weights = (kept > level).to(inputs.dtype)
            quantized, _ = book(rest.detach(), weights)
            loss = loss + ((rest - quantized).square().mean(1) * weights).sum() / weights.sum().clamp(min=1)
            total = total + quantized * weights[:, None]
            rest = rest - quantized
        return inputs + (total - inputs).detach(), loss

    def _num_kept(self, levels: int, batch: int) -> torch.Tensor:
        """Of each window's acoustic codebooks: sometimes none, so that the phonemes are the semantic code's to say."""
        fewer = torch.randint(levels + 1, (batch,), device=self._device)
        return torch.where(torch.rand(batch, device=self._device) < self._dropout, fewer, levels)


def _rows(latents: torch.Tensor) -> torch.Tensor:
    """[batch, dim, frames] to [batch * frames, dim]."""
    return latents.transpose(1, 2).reshape(-1, latents.shape[1])


@torch.no_grad()
def freeze(codec: MimiModel) -> None:
    """What makes codes is rounded to the 16 bits that it will be shipped in: the codes are then the same."""
    for layer in codec.quantizer.semantic_residual_vector_quantizer.layers:
        _settle(layer.codebook, is_semantic=True)
    for layer in codec.quantizer.acoustic_residual_vector_quantizer.layers:
        _settle(layer.codebook, is_semantic=False)
    for part in (codec.encoder, codec.quantizer):
        for tensor in [*part.parameters(), *part.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())


def _settle(codebook: nn.Module, is_semantic: bool) -> None:
    found = entries(codebook)
    if is_semantic:  # where no input will ever be
        direction = functional.normalize(torch.ones_like(found[HELD_CODE]), dim=0)
        found[HELD_CODE] = direction * 8 * found.norm(dim=1).max()
    codebook.embed_sum.copy_(found)
    codebook.cluster_usage.fill_(1)
    codebook._embed = None
