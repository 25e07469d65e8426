"""Plan, embed, score and rank on a world whose right answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data_specs.errors import InputError
from data_specs.manifest import Item, Manifest, ManifestInfo, read_manifest, write_manifest
from evaluate import metrics
from evaluate.drawing.alignment import align, join_pieces
from evaluate.embed import embed_sentences, embed_videos
from evaluate.inputs import model_hash, open_inputs
from evaluate.protocol import MissingItemsError, RetrievalPlan, plan_retrieval, protocol_name, protocol_queries, without
from evaluate.retrieval import Retrieval, RetrievalOptions, evaluate_retrieval, rank_both_ways, summary
from evaluate.similarity import score_matrix
from evaluate.stored import read_stored
from train.config import LossConfig
from train.model import RegionTextModel
from train.objective.region_word import region_word_similarity


def run(model: object, world: object, out: Path, **options: object) -> Retrieval:
    settings = RetrievalOptions.model_validate({"resamples": 20, **options})
    return evaluate_retrieval(model, open_inputs(out / "no-model", world.shards, world.manifest), out, settings)


def test_every_clip_finds_its_sentence_and_back(stand_in, make_world, tmp_path) -> None:
    found = run(stand_in, make_world(), tmp_path, splits=("train", "test"), queries="first", frames=1)
    for direction in (found.result.text_to_video, found.result.video_to_text):
        assert direction.figures["R@1"] == direction.figures["R@10"] == 100.0
        assert direction.figures["MeanR"] == 1.0
        assert (direction.queries, direction.candidates) == (10, 10)
        assert direction.chance["R@1"] == pytest.approx(10.0)
    assert stand_in.clips == 10
    assert (found.result.frames, found.result.regions) == (1, 4)
    # 1 for the thing in both parts: cosine of 1 with (the + thing + moves) / sqrt(3), and full attention on the word
    assert np.diag(found.scores_CB) == pytest.approx(np.full(10, 1 / np.sqrt(3) + 1.0), abs=1e-4)
    assert summary(found.result) == (
        "text-to-video R@1 100.0 R@5 100.0 R@10 100.0 MedR 1.0 MeanR 1.0"
        " | video-to-text R@1 100.0 R@5 100.0 R@10 100.0 MedR 1.0 MeanR 1.0"
        " (made-up/all, split train+test, setting unknown, 10 queries, 10 candidates)"
    )


def test_all_captions_ask_where_the_protocol_has_no_rule(stand_in, make_world, tmp_path) -> None:
    found = run(stand_in, make_world(), tmp_path)
    assert found.result.queries_rule == "all"
    assert found.result.splits == ("test",)
    assert (found.result.text_to_video.queries, found.result.text_to_video.candidates) == (8, 4)
    assert (found.result.video_to_text.queries, found.result.video_to_text.candidates) == (4, 8)


def test_equal_sentences_of_two_videos_tie_exactly(stand_in, make_world, tmp_path) -> None:
    world = make_world({"globe": ("the harp moves",), "harp": ("the harp moves",)})
    found = run(stand_in, world, tmp_path, queries="first", frames=1)
    assert stand_in.tokenizer.seen.count("the harp moves") == 1
    by_video = dict(zip(found.plan.ids, found.by_video.expected(), strict=True))
    assert by_video["harp"] == 1.5
    assert found.result.video_to_text.optimistic["R@1"] > found.result.video_to_text.figures["R@1"]


def test_a_model_that_knows_nothing_gets_chance(stand_in, make_world, tmp_path) -> None:
    world = make_world({thing: ("moves",) for thing in ("globe", "harp", "inkwell", "jug")})
    found = run(stand_in, world, tmp_path, queries="first")
    assert found.result.text_to_video.figures == pytest.approx(found.result.text_to_video.chance)
    assert found.result.text_to_video.figures["R@1"] == pytest.approx(25.0)


def test_missing_items_are_refused_with_a_list(stand_in, make_world, tmp_path) -> None:
    world = make_world(absent=["harp"], failed=["jug"])
    with pytest.raises(MissingItemsError, match="2 of 4 videos of made-up/all are missing") as refused:
        run(stand_in, world, tmp_path)
    assert refused.value.exit_code == 1
    assert "\n" not in refused.value.message and str(tmp_path / "retrieval.missing.jsonl") in refused.value.message
    assert stand_in.clips == 0
    listed = [json.loads(line) for line in (tmp_path / "retrieval.missing.jsonl").read_text().splitlines()]
    assert [(entry["id"], entry["reason"]) for entry in listed] == [("harp", "not_extracted"), ("jug", "truncated")]


def test_allowed_missing_items_are_said_everywhere(stand_in, make_world, tmp_path) -> None:
    world = make_world(failed=["jug"])
    found = run(stand_in, world, tmp_path, splits=("train", "test"), queries="first", allow_missing=True)
    assert (found.result.videos, found.result.videos_planned, found.result.missing) == (9, 10, 1)
    assert summary(found.result).endswith("9/10 queries, 9/10 candidates)")
    assert found.plan.ids == tuple(item.id for item in read_manifest(world.manifest) if item.id != "jug")
    assert found.result.text_to_video.queries_planned == 10


def test_a_complete_run_removes_an_old_list(stand_in, make_world, tmp_path) -> None:
    (tmp_path / "retrieval.missing.jsonl").write_text("old")
    run(stand_in, make_world(), tmp_path)
    assert not (tmp_path / "retrieval.missing.jsonl").exists()


def test_nothing_left_is_an_input_error(make_world) -> None:
    plan = plan_retrieval(read_manifest(make_world().manifest))
    with pytest.raises(InputError, match="none of the 4 videos"):
        without(plan, set(plan.ids))


def test_shards_of_another_detector_are_refused(stand_in, make_world, tmp_path) -> None:
    with pytest.raises(InputError, match="the model reads 17"):
        run(stand_in, make_world(width=99), tmp_path)


def test_more_frames_than_the_model_has_are_refused(stand_in, make_world, tmp_path) -> None:
    with pytest.raises(InputError, match="--frames 9: the model was made for at most 3"):
        run(stand_in, make_world(), tmp_path, frames=9)


def test_a_cut_shard_is_refused(make_world) -> None:
    world = make_world()
    tar = world.shards / "test-00000.tar"
    tar.write_bytes(tar.read_bytes()[:-512])
    with pytest.raises(InputError, match="bytes of its commit record"):
        read_stored(world.shards)


def test_a_shard_without_commit_record_does_not_exist(stand_in, make_world, tmp_path) -> None:
    world = make_world()
    (world.shards / "test-00000.json").unlink()
    with pytest.raises(MissingItemsError, match="4 of 4"):
        run(stand_in, world, tmp_path)


def test_one_id_in_two_shards_is_refused(make_world) -> None:
    world = make_world()
    for suffix in ("tar", "json"):
        text = (world.shards / f"test-00000.{suffix}").read_bytes()
        (world.shards / f"test-00001.{suffix}").write_bytes(text.replace(b"test-00000.tar", b"test-00001.tar"))
    with pytest.raises(InputError, match=r"'globe' stands in test-00000.tar and test-00001.tar"):
        read_stored(world.shards)


def test_order_and_batch_size_do_not_change_embeddings(stand_in, make_world) -> None:
    stored = read_stored(make_world().shards)
    ids = ["jug", "anvil", "harp", "bell", "flute"]
    one, other = (embed_videos(stand_in, stored, ids, frames=3, regions=4, batch_size=n) for n in (1, 3))
    assert one.ids == other.ids == tuple(ids)
    assert torch.equal(one.cls_BE, other.cls_BE) and torch.equal(one.regions_BNE, other.regions_BNE)
    assert one.looks[0].timestamps == (0.5, 1.5, 2.5)


@pytest.mark.parametrize("tile_scores", [1, 40, 1 << 20])
def test_tiles_equal_the_whole(stand_in, make_world, tile_scores: int) -> None:
    stored = read_stored(make_world().shards)
    videos = embed_videos(stand_in, stored, sorted(stored.shard_of), frames=3, regions=4)
    texts = embed_sentences(stand_in, ["the bell moves", "jugs", "moves", "the bell moves"])
    loss = LossConfig(sharpness=3.0)
    expected = np.zeros((3, len(videos.ids)))
    for u, words in enumerate(texts.words):
        for b in range(len(videos.ids)):
            scores = (videos.regions_BNE[b][videos.mask_BN[b]] @ words.T).double()
            local = (torch.softmax(3.0 * scores, 1) * scores).sum(1).mean()
            expected[u, b] = float(videos.cls_BE[b] @ texts.cls_UE[u] + local)
    found = score_matrix(videos, texts, loss, tile_scores=tile_scores).combined_UB.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert texts.row_C.tolist() == [0, 1, 2, 0]


def test_a_similarity_that_was_not_trained_is_left_out(stand_in, make_world) -> None:
    stored = read_stored(make_world().shards)
    videos = embed_videos(stand_in, stored, ["jug"], frames=1, regions=4)
    texts = embed_sentences(stand_in, ["jugs"])
    both = score_matrix(videos, texts, LossConfig())
    alone = score_matrix(videos, texts, LossConfig(global_weight=0.0))
    assert alone.global_UB is None and torch.equal(alone.combined_UB, both.local_UB)
    alone = score_matrix(videos, texts, LossConfig(local_weight=0.0))
    assert alone.local_UB is None and torch.equal(alone.combined_UB, both.global_UB)
    assert torch.equal(both.combined_UB, both.global_UB + both.local_UB)


def test_scores_that_are_not_numbers_are_refused(stand_in, make_world, tmp_path) -> None:
    class Diverged(type(stand_in)):
        def encode_text(self, batch):
            found = super().encode_text(batch)
            return type(found)(found.cls_CE * torch.nan, found.words_CLE, found.mask_CL)

    with pytest.raises(InputError, match="scores are not numbers"):
        run(Diverged(), make_world(), tmp_path)


def test_alignment_is_the_local_similarity_taken_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    regions_NE, words_LE = (
        torch.nn.functional.normalize(torch.randn(n, 8, generator=generator), dim=-1) for n in (6, 4)
    )
    mask_N = torch.tensor([1, 1, 1, 0, 1, 0], dtype=torch.bool)
    found = align(regions_NE.numpy(), mask_N.numpy(), words_LE.numpy(), ["a", "play", "##ing", "dog"], 7.0)
    whole = region_word_similarity(regions_NE[None], mask_N[None], words_LE[None], torch.ones(1, 4).bool(), 7.0)
    assert found.answer_N[mask_N.numpy()].mean() == pytest.approx(float(whole), abs=1e-6)
    assert found.words == ("a", "playing", "dog")
    assert found.shares_NW[mask_N.numpy()].sum(1) == pytest.approx(np.ones(4))
    assert (found.shares_NW[~mask_N.numpy()] == 0).all()


def test_pieces_join_into_words() -> None:
    assert join_pieces(["##s", "play", "##ing", "##s", "a"]) == (["##s", "playings", "a"], [0, 1, 4])
    assert join_pieces([]) == ([], [])


def test_query_rule_comes_from_the_protocol() -> None:
    assert protocol_queries(ManifestInfo("msrvtt", "msrvtt/1k-A")) == "first"
    assert protocol_queries(ManifestInfo("msrvtt", "full")) == "all"
    assert protocol_queries(ManifestInfo("my-own-clips")) == "all"
    assert protocol_queries(ManifestInfo("my-own-clips", rules={"queries": "first"})) == "first"
    with pytest.raises(InputError, match="1k-B"):
        protocol_queries(ManifestInfo("msrvtt", "msrvtt/1k-B"))
    assert protocol_name(ManifestInfo("msrvtt", "1k-A")) == protocol_name(ManifestInfo("msrvtt", "msrvtt/1k-A"))


def test_videos_without_captions_are_candidates_only(tmp_path: Path) -> None:
    items = [Item("a", "a.mp4", "test", captions=("x", "y")), Item("b", "b.mp4", "test")]
    manifest = write_manifest(tmp_path / "m.parquet", items, ManifestInfo("mine"))
    plan = plan_retrieval(manifest)
    assert plan.ids == ("a", "b") and plan.sentences == ("x", "y") and plan.owner_C.tolist() == [0, 0]
    silent = write_manifest(tmp_path / "n.parquet", items[1:], ManifestInfo("mine"))
    with pytest.raises(InputError, match="caption"):
        plan_retrieval(silent)


def test_model_hash_sees_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    one = model_hash(tmp_path)
    (tmp_path / "config.json").write_text("{ }")
    other = model_hash(tmp_path)
    (tmp_path / "config.json").rename(tmp_path / "other.json")
    assert len({one, other, model_hash(tmp_path)}) == 3


def test_empty_manifest_split_is_named(make_world) -> None:
    manifest: Manifest = read_manifest(make_world().manifest)
    with pytest.raises(InputError, match="did you mean test"):
        plan_retrieval(manifest, ["tset"])


@pytest.mark.parametrize(
    ("dataset", "protocol", "queries"),
    [
        ("msvd", "all-captions", 8),
        ("msvd", "first-caption", 4),
        ("lsmdc", "retrieval", 4),
        ("didemo", "paragraph", 4),
        ("didemo", "paragraph-space", 4),
        ("msrvtt", "1k-A", 4),
        ("msrvtt", "full", 8),
    ],
)
def test_each_protocol_asks_with_its_captions(
    stand_in, make_world, tmp_path, dataset: str, protocol: str, queries: int
) -> None:
    found = run(stand_in, make_world(info=ManifestInfo(dataset, protocol)), tmp_path, frames=1)
    assert found.result.protocol == f"{dataset}/{protocol}"
    forth, back = found.result.text_to_video, found.result.video_to_text
    assert (forth.queries, forth.candidates) == (queries, 4)
    assert (back.queries, back.candidates) == (4, queries)
    assert forth.figures["R@1"] == back.figures["R@1"] == 100.0


def test_a_video_takes_the_best_of_its_captions() -> None:
    """By hand: video 0 has the sentences a and b, video 1 has c, video 2 has none."""
    items = tuple(Item(id=name, path=name, split="test", captions=()) for name in "xyz")
    plan = RetrievalPlan("p", ("test",), items, "all", ("a", "b", "c"), np.array([0, 0, 1]))
    scores_CB = np.array([[0.1, 0.5, 0.9], [0.8, 0.2, 0.3], [0.4, 0.4, 0.6]])
    by_sentence, by_video = rank_both_ways(scores_CB, plan)
    assert by_sentence.expected().tolist() == [3.0, 1.0, 2.5]  # c: below z, and tied with x
    assert by_video.expected().tolist() == [1.0, 2.0]  # video 0 by its sentence b; video 1: a is above c
    assert (by_sentence.candidates, by_video.candidates) == (3, 3)


def test_parts_and_dual_softmax_are_reported_apart(stand_in, make_world, tmp_path) -> None:
    world = make_world({"globe": ("the harp moves",), "harp": ("the harp moves",), "inkwell": ("globes harps",)})
    found = run(stand_in, world, tmp_path, queries="first", frames=1, dual_softmax=True)
    again = run(stand_in, world, tmp_path, queries="first", frames=1)
    assert again.result == found.result.model_copy(update={"dual_softmax": None})
    owner_C, rows_B = found.plan.owner_C, np.arange(4)
    parts = score_matrix(found.videos, found.texts, stand_in.loss)
    shares_CB = np.exp(found.scores_CB / stand_in.loss.temperature)
    weighed_CB = found.scores_CB * (shares_CB / shares_CB.sum(0))
    weighed_BC = (found.scores_CB * (shares_CB / shares_CB.sum(1, keepdims=True))).T
    for ways, scores_CB, scores_BC in (
        (found.result.global_alone, parts.global_UB.numpy()[found.texts.row_C], None),
        (found.result.local_alone, parts.local_UB.numpy()[found.texts.row_C], None),
        (found.result.dual_softmax, weighed_CB, weighed_BC),
    ):
        back = scores_CB.T if scores_BC is None else scores_BC
        assert ways.text_to_video.figures == metrics.figures(metrics.rank(scores_CB, owner_C, rows_B))
        assert ways.video_to_text.figures == metrics.figures(metrics.rank(back, rows_B, owner_C))
        assert set(ways.text_to_video.intervals) == set(metrics.FIGURES)


def test_a_model_of_one_similarity_has_no_figures_apart(stand_in, make_world, tmp_path) -> None:
    stand_in.loss = LossConfig(local_weight=0.0)
    found = run(stand_in, make_world(), tmp_path)
    assert found.result.score == "global cosine"
    assert found.result.global_alone is found.result.local_alone is found.result.dual_softmax is None


def test_missing_videos_without_captions_count_as_candidates(stand_in, make_world, tmp_path) -> None:
    """globe has no caption, and is no query; jug's two sentences go with it."""
    world = make_world({"globe": ()}, absent=["globe", "jug"])
    with pytest.raises(MissingItemsError, match="2 of 4 videos"):
        run(stand_in, world, tmp_path)
    found = run(stand_in, world, tmp_path, allow_missing=True)
    forth, back = found.result.text_to_video, found.result.video_to_text
    assert (forth.queries, forth.queries_planned, forth.candidates, forth.candidates_planned) == (4, 6, 2, 4)
    assert (back.queries, back.queries_planned, back.candidates, back.candidates_planned) == (2, 3, 4, 6)
    assert summary(found.result).endswith("4/6 queries, 2/4 candidates)")


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_figures_do_not_depend_on_the_batch(model_folder, make_world, tmp_path, batch_size: int) -> None:
    model, world = RegionTextModel.from_pretrained(model_folder), make_world()
    one, other = (run(model, world, tmp_path, batch_size=size) for size in (None, batch_size))
    assert one.result == other.result
    np.testing.assert_allclose(other.scores_CB, one.scores_CB, rtol=0, atol=1e-6)
