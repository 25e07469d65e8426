"""What each of two processes does in test_two_ranks; it fails by raising."""

from __future__ import annotations

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from tests.train.objective.tiny import TinyModel, assert_equal, batch_of, one_batch
from train.batch import RegionBatch, TextBatch
from train.config import LossConfig
from train.losses import ContrastiveLoss, LossParts, info_nce, local_similarity
from train.model import PairEmbedding
from train.objective.cached_gradients import learn
from train.objective.gather import gather_texts
from train.objective.release_form import release_loss

SIZES = (3, 5)
FORMS = ("slides", "release")
WEIGHTS = ((2.0, 3.0), (1.0, 0.0), (0.0, 1.0))
CHUNKS = (None, 1, 2, 4)
Batches = list[tuple[RegionBatch, TextBatch]]


def work(rank: int, rendezvous: str) -> None:
    """All expectations are computed before the group stands, by the very functions that a process alone uses."""
    torch.set_num_threads(1)
    cases = [
        (LossConfig(local_form=form, global_weight=g, local_weight=w), chunk_size)
        for form in FORMS
        for g, w in WEIGHTS
        for chunk_size in CHUNKS
    ]
    expected = [one_batch(TinyModel(c.local_form), c, batches_of(c.local_form), size) for c, size in cases]
    uneven = uneven_release_expected()
    alone = [alone_expected(form) for form in FORMS]
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=len(SIZES))
    for (config, chunk_size), wanted in zip(cases, expected, strict=True):
        gathered_equals_one_batch(rank, config, chunk_size, wanted)
    for form in FORMS:
        for finds_unused in (False, True):
            ranks_learn_together(rank, form, finds_unused)
    for form, wanted in zip(FORMS, alone, strict=True):
        own_negatives_count_clips_alike(rank, form, wanted)
    uneven_release_widths(rank, uneven)
    counts_are_exchanged_once(rank)
    distributed.destroy_process_group()


def batches_of(form: str) -> Batches:
    """Ranks differ in clips; in the slides' form in padded width, too."""
    return [batch_of(20 + r, size, longest=6 + 3 * r if form == "slides" else 9) for r, size in enumerate(SIZES)]


def gathered_equals_one_batch(
    rank: int, config: LossConfig, chunk_size: int | None, expected: tuple[LossParts, list[torch.Tensor]]
) -> None:
    """Without DistributedDataParallel, which wants a gradient for every parameter: the average is taken here."""
    model = TinyModel(config.local_form)
    torch.manual_seed(rank)
    parts = learn(model, ContrastiveLoss(config), *batches_of(config.local_form)[rank], chunk_size=chunk_size)
    assert_equal(parts, averaged(model), expected)


def ranks_learn_together(rank: int, form: str, finds_unused: bool) -> None:
    """Several steps, because the wrapper rearranges itself in the second; ranks have 2 and 3 chunks."""
    config = LossConfig(local_form=form)
    model = DistributedDataParallel(TinyModel(form), find_unused_parameters=finds_unused)
    for chunk_size in (2, 2, None, 3):
        model.zero_grad()
        alone = TinyModel(form)
        alone.load_state_dict(model.module.state_dict())
        torch.manual_seed(rank)
        parts = learn(model, ContrastiveLoss(config), *batches_of(form)[rank], chunk_size=chunk_size)
        gradients = [parameter.grad for parameter in model.parameters()]
        expected_by_hand = TinyModel(form)
        expected_by_hand.load_state_dict(alone.state_dict())
        torch.manual_seed(rank)
        learn(expected_by_hand, ContrastiveLoss(config), *batches_of(form)[rank], chunk_size=chunk_size)
        assert_equal(parts, gradients, (parts, averaged(expected_by_hand)))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad


def own_negatives_count_clips_alike(rank: int, form: str, expected: tuple[list[float], list[torch.Tensor]]) -> None:
    config = LossConfig(local_form=form, gather=False)
    for chunk_size in (None, 2):
        model = TinyModel(form, dropout=0.0)
        parts = learn(model, ContrastiveLoss(config), *batches_of(form)[rank], chunk_size=chunk_size)
        assert abs(parts.total.item() - expected[0][rank]) < 1e-9
        for ours, wanted in zip(averaged(model), expected[1], strict=True):
            torch.testing.assert_close(ours, wanted, rtol=1e-8, atol=1e-9)


def alone_expected(form: str) -> tuple[list[float], list[torch.Tensor]]:
    """Each rank's loss, and the gradient of their mean over clips."""
    model, config = TinyModel(form, dropout=0.0), LossConfig(local_form=form)
    losses = [ContrastiveLoss(config)(model(*batch)).total for batch in batches_of(form)]
    mean = sum(loss * size for loss, size in zip(losses, SIZES, strict=True)) / sum(SIZES)
    return [loss.item() for loss in losses], list(torch.autograd.grad(mean, list(model.parameters())))


def uneven_embeddings() -> tuple[TinyModel, list[PairEmbedding]]:
    model = TinyModel("release", dropout=0.0)
    batches = [batch_of(20 + r, size, longest=6 + 3 * r) for r, size in enumerate(SIZES)]
    return model, [model(*batch) for batch in batches]


def uneven_release_expected() -> tuple[float, list[torch.Tensor]]:
    """Each sentence keeps its rank's width."""
    model, pairs = uneven_embeddings()
    texts, config = [p.text for p in pairs], LossConfig(local_form="release")
    scores_BB = torch.cat([local_similarity(p.video, texts, config) for p in pairs])
    clips, sentences = torch.cat([p.video.cls_BE for p in pairs]), torch.cat([text.cls_CE for text in texts])
    total = release_loss(scores_BB) + info_nce(clips @ sentences.T, pairs[0].temperature)
    return total.item(), list(torch.autograd.grad(total, list(model.parameters())))


def uneven_release_widths(rank: int, expected: tuple[float, list[torch.Tensor]]) -> None:
    model, pairs = uneven_embeddings()
    assert [text.mask_CL.shape[1] for text in gather_texts(pairs[rank].text, True)] == [6, 9]
    total = ContrastiveLoss(LossConfig(local_form="release"))(pairs[rank]).total
    total.backward()
    assert abs(total.item() - expected[0]) < 1e-9
    for ours, wanted in zip(averaged(model), expected[1], strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-8, atol=1e-9)


def counts_are_exchanged_once(rank: int) -> None:
    """Each exchange of numbers makes a GPU wait; those of the sentences serve both similarities."""
    pairs, all_gather, numbers = TinyModel("slides")(*batches_of("slides")[rank]), distributed.all_gather, []

    def counting(found: list[torch.Tensor], own: torch.Tensor) -> None:
        numbers.extend([own] if own.dtype == torch.int64 else [])
        all_gather(found, own)

    distributed.all_gather = counting
    try:
        ContrastiveLoss(LossConfig())(pairs)
    finally:
        distributed.all_gather = all_gather
    assert len(numbers) == 1, numbers


def averaged(model: torch.nn.Module) -> list[torch.Tensor]:
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]
    for gradient in gradients:
        distributed.all_reduce(gradient)
    return [gradient / len(SIZES) for gradient in gradients]
