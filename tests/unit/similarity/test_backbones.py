import pytest

from app.errors import RequestError
from app.similarity.backbones import BACKBONES, DEFAULT_BACKBONE, find_backbone


def test_the_published_backbones_are_found_by_name() -> None:
    assert list(BACKBONES) == [
        "resnet34",
        "moco_v2_800ep_pretrain",
        "dino_deitsmall16_pretrain",
        "dino_vitbase8_pretrain",
        "sscd_disc_mixup",
        "dinov2_vitb14",
        "clip_vitb32",
        "resnet50",
        "resnet18_watermarks",
        "resnet18_watermarks_conv4",
        "illustrations",
    ]
    assert all(find_backbone(name).name == name for name in BACKBONES)
    assert DEFAULT_BACKBONE in BACKBONES


def test_the_url_of_moco_is_that_of_800_epochs() -> None:
    assert find_backbone("moco_v2_800ep_pretrain").url.endswith("/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar")


def test_a_timm_model_is_found_by_its_name() -> None:
    backbone = find_backbone("timm:vit_small_patch14_dinov2.lvd142m")
    assert (backbone.source, backbone.model) == ("timm", "vit_small_patch14_dinov2.lvd142m")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "resnet35",
        "timm:",
        "timm:hf-hub:someone/something",
        "timm:hf_hub:someone/something",
        "hf-hub:someone/something",
        "timm:local-dir:/etc",
        "local-dir:/etc",
        "timm:../../etc/passwd",
        "timm:..",
        "timm:a.b.c",
        "timm:a/b",
        "timm:a%2fb",
        "timm:a\0",
        "timm:a\n",
        "timm:" + "a" * 300,
        "../resnet34",
        "resnet34.pth",
    ],
)
def test_unknown_names_are_rejected_with_a_list_of_known_ones(name: str) -> None:
    with pytest.raises(RequestError, match="resnet18_watermarks_conv4, illustrations, or timm:<model name>"):
        find_backbone(name)
