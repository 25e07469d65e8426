"""Data sets in words: the table of all, the page of one, and what a build found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text
from rich.tree import Tree

from data_specs.build import Built
from data_specs.manifest_rows import plain_texts
from data_specs.spec import DatasetSpec, ProtocolSpec, SplitSpec

_MARK = "*"
_CAPTIONS = "captions"  # the one role that protocols read without naming it
_QUERIES = {"first": "a video's first caption", "all": "every caption of a video, each a query of its own"}


def overview(specs: Iterable[DatasetSpec]) -> RenderableType:
    """One row a data set: what it is, how large, its protocols."""
    protocols = Column(f"protocols (first: default, {_MARK} reported by papers)", ratio=2)
    table = Table("name", Column("what", ratio=3), "media", Column("size", ratio=2), protocols, box=None)
    for spec in specs:
        names = sorted(spec.protocols, key=lambda name: name != spec.default_protocol)
        marked = [name + _MARK * spec.protocols[name].reported for name in names]
        table.add_row(spec.name, escape(spec.title), ", ".join(spec.media), escape(spec.size), ", ".join(marked))
    return table


def page(spec: DatasetSpec, given: str) -> RenderableType:
    """What a user needs before downloading anything. ``given``: how the user named the data set."""
    facts = (("size", spec.size), ("source", spec.source), ("licence", spec.licence))
    parts: list[RenderableType] = [Text.from_markup(f"[bold]{spec.name}[/bold]: {escape(spec.title)}")]
    parts += [Text.from_markup(f"[bold]{label}[/bold]: {escape(text)}") for label, text in facts]
    parts += ["", _places(spec)]
    if spec.files:
        parts += ["", _files(spec)]
    parts += ["", _protocols(spec), *map(Text.from_markup, _scoring(spec)), "", _commands(spec, given)]
    return Group(*parts)


def counts(built: Built) -> Table:
    """One row a split: what the manifest holds beside what the full data set should."""
    title = f"{built.manifest.info.protocol}, expected: as the full data set has it"
    columns = ("rows", "expected", "captions", "expected", "questions", "multiple choice", "expected")
    table = Table("split", *columns, title=title)
    for name, count in _totals(built.manifest.table).items():
        split = built.protocol.splits[name]  # type: ignore[index]
        cells = (
            f"{count['rows']:,}",
            _number(split.videos),
            f"{count['captions']:,}",
            "none" if split.captions == "none" else _number(split.caption_count),
            f"{count['questions']:,}",
            f"{count['choices']:,}",
            _number(split.question_count),
        )
        table.add_row(name, *cells)
    return table


def findings(built: Built) -> Iterator[str]:
    """Lines under the counts: which media layout and form was found, what is left out, what the answers cover."""
    template, found = built.layout
    others = [place for place in built.spec.media_paths if place != template]
    also = f" (also accepted: {', '.join(others)})" if others and not found else ""
    if template != "{id}":
        yield f"media: {template}{' found' if found else ', where no file stands yet'}{also}"
    for role, form in built.forms.items():
        yield f"{role}: the {form} form found"
    present = built.manifest.counts()
    for name, split in built.protocol.splits.items():
        if split.optional and name not in present:
            scored = ", on which this protocol is scored," if name == built.protocol.candidates else ""
            yield f"split {name}{scored} is left out: not all of its files are there"
    for role in built.absent:
        yield f"optional file {role} is not there: {built.spec.files[role].places[0]}"
    for role, count in built.left_out.items():
        yield f"{count:,} questions of {role} are about videos outside this split"
    yield from _coverage(built)
    yield from built.remarks


def _coverage(built: Built) -> Iterator[str]:
    spec, size = built.protocol.answers, len(built.manifest.info.answers)
    if spec is None:
        return
    expected = "" if spec.size in (None, size) else f", expected {spec.size:,}"
    yield f"answer vocabulary: {size:,} answers{expected}"
    for split, found in built.coverage.items():
        share = spec.coverage.get(split)  # type: ignore[call-overload]
        known = "" if share is None else f", expected {share:.1f} %"
        numbers = f"{found.covered:,} of {found.asked:,}"
        yield f"answer vocabulary covers {found.percent:.1f} % of {split} ({numbers}{known}); the rest count as wrong"


def _totals(table: pa.Table) -> dict[str, dict[str, int]]:
    """Rows, captions, open-ended questions and multiple choices a split, in the order in which the splits come."""
    if not table.num_rows:
        return {}
    splits = pa.concat_arrays(plain_texts(table["split"]).chunks).dictionary_encode()
    code_N = splits.indices.to_numpy()
    asked_N = _lengths(table["questions"])
    options_Q = _lengths(pc.struct_field(pc.list_flatten(table["questions"]), "options"))
    code_Q, size = np.repeat(code_N, asked_N), len(splits.dictionary)
    found = {
        "rows": np.bincount(code_N, minlength=size),
        "captions": np.bincount(code_N, _lengths(table["captions"]), size),
        "questions": np.bincount(code_Q, options_Q == 0, size),
        "choices": np.bincount(code_Q, options_Q > 0, size),
    }
    names = splits.dictionary.to_pylist()
    return {name: {what: int(count_S[n]) for what, count_S in found.items()} for n, name in enumerate(names)}


def _lengths(lists: pa.ChunkedArray) -> NDArray[np.int64]:
    return pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)


def _places(spec: DatasetSpec) -> Tree:
    tree = Tree("[bold]DIR/[/bold]  (the folder given as --root; each file at any one of its places)")
    folders: dict[str, Tree] = {}

    def leaf(places: tuple[str, ...], note: str) -> None:
        path = PurePosixPath(places[0])
        folder = path.parent.as_posix()
        if folder != "." and folder not in folders:
            folders[folder] = tree.add(f"[bold]{escape(folder)}/[/bold]")
        others = f"  [dim]or {escape(', '.join(places[1:]))}[/dim]" if places[1:] else ""
        folders.get(folder, tree).add(f"{escape(path.name)}  ({note}){others}")

    for role, file in spec.files.items():
        leaf(file.places, role)
    leaf(spec.media_paths, " and ".join(f"the {media}s" for media in spec.media))
    return tree


def _files(spec: DatasetSpec) -> Table:
    what, origin = Column("what it is", ratio=3), Column("where it comes from", ratio=3)
    table = Table("file", what, origin, Column("protocols that read it", ratio=2), title="Annotation files")
    for role, file in spec.files.items():
        users = [name for name, protocol in spec.protocols.items() if _reads(protocol, role)]
        table.add_row(role, escape(file.what), escape(file.origin), ", ".join(users) or "all")
    return table


def _reads(protocol: ProtocolSpec, role: str) -> bool:
    """Whether it names the role; captions are read wherever a split keeps some."""
    keeps = any(split.captions != "none" for split in protocol.splits.values())
    return role in {named for _, named in protocol.roles()} or (role == _CAPTIONS and keeps)


def _protocols(spec: DatasetSpec) -> Table:
    title = f"Protocols ({_MARK} what papers report for its task)"
    columns = ("protocol", "task", "split", "videos", "captions", "questions", "needs", "optional")
    table = Table(*columns, title=title)
    for name, protocol in spec.protocols.items():
        for number, (split_name, split) in enumerate(protocol.splits.items()):
            label = f"{spec.name}/{name}{_MARK * protocol.reported}" if number == 0 else ""
            default = " (default)" if number == 0 and name == spec.default_protocol else ""
            scored = " (scored)" if split_name == protocol.candidates else ""
            captions = "none" if split.captions == "none" else _number(split.caption_count)
            needs, optional = _needs(spec, split)
            table.add_row(
                label + default,
                protocol.task if number == 0 else "",
                split_name + scored,
                _number(split.videos),
                captions,
                _number(split.question_count) if split.questions else "",
                needs + (" (or no such split)" if split.optional else ""),
                optional,
            )
    return table


def _needs(spec: DatasetSpec, split: SplitSpec) -> tuple[str, str]:
    """The file roles that a split cannot do without, and those that it can."""
    captions = [_CAPTIONS] if _CAPTIONS in spec.files and split.captions != "none" else []
    needed = [*captions, *split.files, *([" or ".join(split.choice)] if split.choice else [])]
    return ", ".join(needed), ", ".join(role for role in split.questions if role not in split.files)


def _scoring(spec: DatasetSpec) -> Iterator[str]:
    for name, protocol in spec.protocols.items():
        facts = ". ".join(text.rstrip(".") for text in (protocol.title, *_rules(protocol), protocol.notes) if text)
        yield f"[bold]{spec.name}/{name}[/bold]: {escape(facts)}."


def _rules(protocol: ProtocolSpec) -> Iterator[str]:
    if protocol.task == "retrieval":
        chosen = protocol.splits[protocol.candidates].choice
        query = "the caption that " + " or ".join(chosen) + " names" if chosen else _QUERIES[protocol.queries]
        yield f"Queries: {query}; candidates: the videos of {protocol.candidates}; ties: the {protocol.ties} rank"
    if protocol.joined_by is not None:
        yield f"A video's captions are joined by {protocol.joined_by!r} into one"
    if protocol.answers is not None:
        known = protocol.answers
        counted = f"the {known.most_frequent or 0:,} most frequent of {'+'.join(known.of)}"
        source = f"file {known.file}" if known.file else counted
        shares = ", ".join(f"{share:.1f} % of {split}" for split, share in known.coverage.items())
        yield f"Answers: {source}" + (f", which cover {shares}" if shares else "")
    if protocol.choices is not None and protocol.task == "multiple-choice":
        yield f"{protocol.choices.options} options, counted from {protocol.choices.label_base} in the file"


def _commands(spec: DatasetSpec, given: str) -> RenderableType:
    task = spec.protocols[spec.default_protocol].task
    out = f"{spec.name}.parquet"
    lines = [
        f"python -m data_specs build {given} --root DIR --protocol {spec.default_protocol} --out {out}",
        f"python -m data_specs check {out} --root DIR",
        f"python -m extract run --manifest {out} --root DIR --out shards --detector NAME",
    ]
    if task != "pretraining":
        lines.append(f"python -m evaluate {task} --model RUN/model --shards shards --manifest {out} --out report")
    return Text("Next:\n  ") + Text("\n  ".join(lines))


def _number(value: int | None) -> str:
    return "any" if value is None else f"{value:,}"
