"""MSR-VTT: captions in either published JSON form, split lists, the queries of 1k-A, MSRVTT-QA and MSRVTT-MC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_specs.annotations.places import MediaTemplate
from data_specs.annotations.sources import Annotations, Sources, plain_id, text_field, text_list
from data_specs.errors import InputError
from data_specs.manifest import Item, Question
from data_specs.spec import ChoiceSpec, DatasetSpec, ProtocolSpec, SplitName, SplitSpec

MULTIPLE_CHOICE = "multiple_choice"

Captions = Mapping[str, Sequence[str]]
Splits = Mapping[SplitName, SplitSpec]
Asked = tuple[str, Question]  # the video it is about, and the question


def parse(spec: DatasetSpec, protocol: ProtocolSpec, root: Path) -> Annotations:
    """Rows of a protocol: videos in the order of its lists, captions in the order of the annotation file.

    A question file that stands in a split's ``files`` is a list too: of the videos it asks about. The caption file is
    read only where a split keeps captions.

    Raises:
        InputError: a file is missing or malformed, or two of them disagree; names file, row and video.
    """
    sources = Sources(spec, root)
    splits, absent = sources.splits(protocol)
    asked, unasked = _asked(sources, splits, protocol.choices)
    lists = {name: _split_list(sources, split, asked) for name, split in splits.items()}
    _refuse_overlap(sources, splits, lists)
    captions_file, captions = None, {}
    if any(split.captions != "none" for split in splits.values()):
        captions_file = sources.require("captions")
        captions = read_captions(sources, captions_file)
    place = MediaTemplate(spec, root, ("id", "split")).template
    items: list[Item] = []
    left_out: dict[str, int] = {}
    for name, split in splits.items():
        kept = {} if captions_file is None else _kept(sources, split, lists[name], captions, captions_file)
        questions = _by_video(split, lists[name], asked, left_out)
        items += (
            Item(
                video,
                place.format(id=video, split=name),
                name,
                spec.media[0],
                tuple(kept.get(video, ())),
                questions=found,
            )
            for video, found in questions.items()
        )
    return Annotations(items, sources.read, (*absent, *unasked), left_out)


def read_captions(sources: Sources, path: Path) -> dict[str, list[str]]:
    """Captions a video, in the file's order; captions of one video need not stand together.

    Read from ``annotations[].{image_id, caption}`` or from ``sentences[].{video_id, caption}``; rows in errors count
    from 0 there, as JSON indices.
    """
    tree = sources.json(path)
    for table, identifier in (("annotations", "image_id"), ("sentences", "video_id")):
        if isinstance(tree, dict) and isinstance(tree.get(table), list):
            captions: dict[str, list[str]] = {}
            for row, fields in enumerate(tree[table]):
                video = text_field(path, row, fields, identifier)
                captions.setdefault(video, []).append(text_field(path, row, fields, "caption"))
            return captions
    raise InputError(f"{path}: neither annotations[] (MSR_VTT.json) nor sentences[] (MSRVTT_data.json) is in it")


def read_list(sources: Sources, path: Path) -> list[str]:
    """Video ids of a list file, one a line, in its order.

    Raises:
        InputError: an id holds a space or slash, or occurs twice.
    """
    rows: dict[str, int] = {}
    for row, line in sources.lines(path):
        video = plain_id(path, row, line.strip())
        if video in rows:
            raise InputError(f"{path}: row {row}: {video} already stands in row {rows[video]}")
        rows[video] = row
    if not rows:
        raise InputError(f"{path}: lists no video")
    return list(rows)


def read_questions(sources: Sources, path: Path, role: str, choices: ChoiceSpec | None) -> list[Asked]:
    """(video, question) a row of a MSRVTT-QA or MSRVTT-MC file, told apart by their fields.

    MSRVTT-QA has no ids: the key is ``{role}-{row}``, rows from 0. MSRVTT-MC's key is its ``qid``; it has no question
    text, its answer is the right option.
    """
    found: list[Asked] = []
    keys: dict[str, int] = {}
    for place, (row, fields) in enumerate(sources.json_rows(path)):
        if "options" in fields:
            if choices is None:
                raise InputError(f"{path}: row {row}: multiple choice, and this protocol has no choices: in the spec")
            video, question = _choice_question(path, row, fields, choices)
        else:
            video = text_field(path, row, fields, "video_id")
            words = (text_field(path, row, fields, name) for name in ("question", "answer", "answer_type"))
            question = Question(*words, key=f"{role}-{place}")
        plain_id(path, row, video)
        if question.key in keys:
            raise InputError(f"{path}: row {row}: qid {question.key!r} already stands in row {keys[question.key]}")
        keys[question.key] = row
        found.append((video, question))
    return found


def read_query_index(sources: Sources, path: Path) -> dict[str, int]:
    """Video to the index of its query among its captions."""
    tree = sources.json(path)
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected an object of video to caption index, found {type(tree).__name__}")
    for video, index in tree.items():
        if type(index) is not int or index < 0:
            raise InputError(f"{path}: {video}: {index!r} is not a caption index")
    return tree


def read_query_sentences(sources: Sources, path: Path) -> dict[str, str]:
    """Video to its query sentence."""
    found: dict[str, str] = {}
    for row, fields in sources.csv_rows(path, ("video_id", "sentence")):
        video = text_field(path, row, fields, "video_id")
        if video in found:
            raise InputError(f"{path}: row {row}: {video} has a sentence already")
        found[video] = text_field(path, row, fields, "sentence")
    return found


def _choice_question(path: Path, row: int, fields: dict[str, Any], choices: ChoiceSpec) -> Asked:
    options = text_list(path, row, fields, "options")
    if len(options) != choices.options:
        raise InputError(f"{path}: row {row}: options: {len(options)} of them, expected {choices.options}")
    answer, first = fields.get("answer"), choices.label_base
    allowed = range(first, first + choices.options)
    if isinstance(answer, bool) or str(answer) not in map(str, allowed):
        raise InputError(f"{path}: row {row}: answer: {answer!r} is not an option from {first} to {allowed[-1]}")
    label, key = int(answer) - first, text_field(path, row, fields, "qid")
    video = text_field(path, row, fields, "clip_name")
    return video, Question("", options[label], MULTIPLE_CHOICE, options, label, key)


def _asked(sources: Sources, splits: Splits, choices: ChoiceSpec | None) -> tuple[dict[str, list[Asked]], list[str]]:
    """Role to the questions of its file, and the roles that have none."""
    roles = dict.fromkeys(role for split in splits.values() for role in split.questions)
    paths = {role: sources.find(role) for role in roles}
    asked = {r: read_questions(sources, path, r, choices) for r, path in paths.items() if path is not None}
    return asked, [role for role in roles if role not in asked]


def _by_video(
    split: SplitSpec, videos: Sequence[str], asked: Mapping[str, Sequence[Asked]], left_out: dict[str, int]
) -> dict[str, tuple[Question, ...]]:
    """The split's videos with their questions; those about other videos are counted in ``left_out``."""
    found: dict[str, list[Question]] = {video: [] for video in videos}
    for role in split.questions:
        for video, question in asked.get(role, ()):
            if video in found:
                found[video].append(question)
            else:
                left_out[role] = left_out.get(role, 0) + 1
    return {video: tuple(questions) for video, questions in found.items()}


def _split_list(sources: Sources, split: SplitSpec, asked: Mapping[str, Sequence[Asked]]) -> list[str]:
    videos: list[str] = []
    for role in split.files:
        path = sources.require(role)
        named = [video for video, _ in asked[role]] if role in asked else read_list(sources, path)
        if not named:
            raise InputError(f"{path}: asks about no video")
        videos += named
    return list(dict.fromkeys(videos))


def _refuse_overlap(sources: Sources, splits: Splits, lists: Mapping[SplitName, list[str]]) -> None:
    home: dict[str, SplitName] = {}
    for name, videos in lists.items():
        for video in videos:
            if video in home:
                files = [str(sources.require(splits[split].files[0])) for split in (home[video], name)]
                raise InputError(f"{video} is in two splits, {home[video]} and {name}: {' and '.join(files)}")
            home[video] = name


def _kept(
    sources: Sources, split: SplitSpec, videos: Sequence[str], captions: Captions, captions_file: Path
) -> Captions:
    """The captions that the split keeps of its videos, each of which must have one."""
    if split.captions == "none":
        return {}
    kept = _chosen(sources, split, videos, captions, captions_file) if split.choice else captions
    for video in videos:
        if not kept.get(video):
            list_file = sources.require(split.files[0])
            raise InputError(f"{captions_file}: no caption of {video}, which {list_file} lists")
    return kept


def _chosen(
    sources: Sources, split: SplitSpec, videos: Sequence[str], captions: Captions, captions_file: Path
) -> dict[str, list[str]]:
    """One caption a video: by index, by sentence, or by both where both files are there, which must then agree."""
    if len(split.choice) != 2:
        raise InputError(f"{sources.spec.name}: choice: expected [index file, sentence file], found {split.choice}")
    index_role, sentence_role = split.choice
    index_file, sentence_file = sources.find(index_role), sources.find(sentence_role)
    if index_file is None and sentence_file is None:
        sources.refuse(list(split.choice))
    index = read_query_index(sources, index_file) if index_file is not None else {}
    sentences = read_query_sentences(sources, sentence_file) if sentence_file is not None else {}
    kept: dict[str, list[str]] = {}
    for video in videos:
        query = sentences.get(video)
        if sentence_file is not None and query is None:
            raise InputError(f"{sentence_file}: no sentence for {video}, a test video of 1k-A")
        if index_file is not None:
            by_index = _by_index(index_file, index, video, captions.get(video, ()), captions_file)
            if query is not None and query.split() != by_index.split():
                raise InputError(
                    f"{sentence_file}: {video}: its sentence {query!r} is not caption {index[video]} of"
                    f" {captions_file}, which {index_file} names: {by_index!r}"
                )
            query = by_index
        assert query is not None
        kept[video] = [query]
    return kept


def _by_index(
    index_file: Path, index: Mapping[str, int], video: str, captions: Sequence[str], captions_file: Path
) -> str:
    if video not in index:
        raise InputError(f"{index_file}: no caption index for {video}, a test video of 1k-A")
    if index[video] >= len(captions):
        raise InputError(
            f"{index_file}: {video}: caption {index[video]} does not exist, {captions_file} has {len(captions)}"
        )
    return captions[index[video]]
