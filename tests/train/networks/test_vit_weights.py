"""An ImageNet ViT in timm's names and layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from data_specs.errors import InputError
from train.config import ModelConfig
from train.networks.video_encoder import VideoEncoder
from train.networks.vit_weights import load_vit


def timm_vit(width: int = 32, depth: int = 2, rows: int = 197) -> dict[str, Tensor]:
    """Every tensor of a timm VisionTransformer of the 21,000-class kind, random, smaller."""
    hidden = 4 * width
    shapes = {
        "cls_token": (1, 1, width), "pos_embed": (1, rows, width),
        "patch_embed.proj.weight": (width, 3, 16, 16), "patch_embed.proj.bias": (width,),
        "norm.weight": (width,), "norm.bias": (width,),
        "pre_logits.fc.weight": (width, width), "pre_logits.fc.bias": (width,),
        "head.weight": (10, width), "head.bias": (10,),
    }  # fmt: skip
    for i in range(depth):
        layers = {"attn.qkv": (3 * width, width), "attn.proj": (width, width), "mlp.fc1": (hidden, width),
                  "mlp.fc2": (width, hidden), "norm1": (width,), "norm2": (width,)}  # fmt: skip
        for name, shape in layers.items():
            shapes |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
    torch.manual_seed(depth)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def save_as_safetensors(tensors: dict[str, Tensor], path: Path) -> Path:
    path = path.with_suffix(".safetensors")
    save_file(tensors, path)
    return path


def save_as_pth(tensors: dict[str, Tensor], path: Path) -> Path:
    path = path.with_suffix(".pth")
    torch.save({"state_dict": tensors}, path)
    return path


def save_as_bin(tensors: dict[str, Tensor], path: Path) -> Path:
    path = path.with_suffix(".bin")
    torch.save(tensors, path)
    return path


@pytest.mark.parametrize("time_attention", [False, True])
@pytest.mark.parametrize("save", [save_as_safetensors, save_as_pth, save_as_bin])
def test_all_blocks_and_cls_load(
    model_config: ModelConfig, tmp_path: Path, save: Callable[..., Path], time_attention: bool
) -> None:
    vit = timm_vit()
    encoder = VideoEncoder(model_config.model_copy(update={"time_attention": time_attention}))
    assert load_vit(encoder, save(vit, tmp_path / "vit")) == [
        "head.bias", "head.weight", "norm.bias", "norm.weight", "patch_embed.proj.bias", "patch_embed.proj.weight",
        "pos_embed", "pre_logits.fc.bias", "pre_logits.fc.weight",
    ]  # fmt: skip
    held = encoder.state_dict()
    assert all(torch.equal(held[name], tensor) for name, tensor in vit.items() if name.startswith("blocks."))
    assert torch.equal(encoder.cls_token, vit["cls_token"] + vit["pos_embed"][:, :1])


def test_a_table_of_patches_alone_has_no_row_for_cls(model_config: ModelConfig, tmp_path: Path) -> None:
    vit, encoder = timm_vit(rows=196), VideoEncoder(model_config)
    load_vit(encoder, save_as_safetensors(vit, tmp_path / "vit"))
    assert torch.equal(encoder.cls_token, vit["cls_token"])


def test_names_are_those_of_the_published_vit_b() -> None:
    with torch.device("meta"):
        encoder = VideoEncoder(ModelConfig.model_validate({"preset": "base"}))
    held = {name: tuple(t.shape) for name, t in encoder.state_dict().items() if name.startswith("blocks.")}
    assert len(held) == 12 * 12
    assert held["blocks.11.attn.qkv.weight"] == (2304, 768) and held["blocks.0.mlp.fc1.weight"] == (3072, 768)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 1}, r"blocks\.1\.attn\.proj\.bias is absent in the file, \[32\] in the model"),
        ({"depth": 3}, r"blocks\.2\.attn\.proj\.bias is \[32\] in the file, absent in the model"),
        ({"width": 64}, r"blocks\.0\.attn\.proj\.bias is \[64\] in the file, \[32\] in the model"),
    ],
)
def test_another_architecture_is_refused(
    model_config: ModelConfig, tmp_path: Path, change: dict[str, int], message: str
) -> None:
    encoder = VideoEncoder(model_config)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with pytest.raises(InputError, match=message):
        load_vit(encoder, save_as_safetensors(timm_vit(**change), tmp_path / "vit"))
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())


def test_what_is_no_file_of_weights_is_refused(model_config: ModelConfig, tmp_path: Path) -> None:
    encoder = VideoEncoder(model_config)
    with pytest.raises(InputError, match="no such file of ViT weights"):
        load_vit(encoder, tmp_path / "absent.pth")
    for suffix in ("safetensors", "pth"):
        broken = tmp_path / f"broken.{suffix}"
        broken.write_bytes(b"not weights")
        with pytest.raises(InputError, match="cannot be read as weights alone"):
            load_vit(encoder, broken)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="holds no state dict"):
        load_vit(encoder, tmp_path / "list.pth")
