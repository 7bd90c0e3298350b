from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms import v2

from app import devices
from app.detection.precision import EXACT, Library, Precision, Runtime
from app.similarity.backbone_weights import identify
from app.similarity.backbones import Pooling, find_backbone
from app.similarity.embedder import Embedder, EmbedderConfig, find_difference, load_embedder
from app.similarity.networks import Network
from app.similarity.preprocessing import Preprocessing
from app.similarity.transpositions import Transposition, transpose
from tests.support.published_backbones import build_resnet, compute_vit_tokens

Image = NDArray[np.uint8]
Publish = Callable[[str], Path]

CHANNELS = {"resnet34": 256, "moco_v2_800ep_pretrain": 1024}
REDUCED = Runtime(Library.TORCH, torch.bfloat16)
OPENVINO = Runtime(Library.OPENVINO, torch.float32)
HEADS = 6  # of dino_deitsmall16_pretrain


def draw(*shape: int) -> Image:
    """Return an image ``(height, width, 3)`` of random coloured rectangles."""
    random = np.random.default_rng(sum(shape))
    coarse = random.integers(0, 256, (7, 5, 3), dtype=np.uint8)
    rows, columns = (np.arange(length) * parts // length for length, parts in zip(shape, (7, 5), strict=True))
    return coarse[rows][:, columns]


IMAGES = [draw(300, 200), draw(90, 410)]


def prepare(image: Image, interpolation: v2.InterpolationMode) -> torch.Tensor:
    """Preprocess an image with torchvision's transforms."""
    steps = v2.Compose(
        [
            v2.ToImage(),
            v2.Resize((224, 224), interpolation=interpolation, antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    return steps(image)


@torch.inference_mode()
def compute_places(name: str, images: list[Image], folder: Path) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return features ``(n, channels, positions)`` and class tokens of a published backbone, computed independently."""
    if name in CHANNELS:
        whole = build_resnet("resnet34" if name == "resnet34" else "resnet50")
        extractor = create_feature_extractor(whole, {"layer3": "conv4"})
        batch = torch.stack([prepare(image, v2.InterpolationMode.BILINEAR) for image in images])
        return extractor(batch)["conv4"].flatten(2), None
    state = torch.load(folder / f"{name}.pth", weights_only=True)
    patch = state["patch_embed.proj.weight"].shape[-1]
    batch = torch.stack([prepare(image, v2.InterpolationMode.BICUBIC) for image in images])
    tokens = compute_vit_tokens(batch, state, patch, HEADS)
    return tokens[:, 1:].transpose(1, 2), tokens[:, 0]


def assert_close(found: NDArray[np.float32], expected: torch.Tensor) -> None:
    wanted = functional.normalize(expected, dim=1).numpy()
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("name", ["resnet34", "moco_v2_800ep_pretrain", "dino_deitsmall16_pretrain"])
def test_embeddings_equal_an_independent_computation(publish: Publish, name: str) -> None:
    folder = publish(name)
    places, token = compute_places(name, IMAGES, folder)
    loaded = load_embedder(find_backbone(name), folder, EmbedderConfig(device="cpu"))
    assert loaded.input_size == 224
    assert_close(loaded.embed(IMAGES), places.flatten(1) if token is None else token)
    expected = {
        Pooling.NONE: places.flatten(1),
        Pooling.AVG: places.mean(2),
        Pooling.GEM: (places.clamp(min=1e-6) ** 3).mean(2) ** (1 / 3),
    }
    for pooling, features in expected.items():
        embedder = Embedder(loaded.network, EmbedderConfig(pooling, device="cpu"))
        assert embedder.dimension == features.shape[1]
        assert_close(embedder.embed(IMAGES[:1]), features[:1])


def test_the_largest_backbone_gives_the_class_token(publish: Publish) -> None:
    name = "dino_vitbase8_pretrain"
    assert load_embedder(find_backbone(name), publish(name), EmbedderConfig(device="cpu")).dimension == 768


@pytest.mark.parametrize(("name", "dimension"), [("resnet34", 50_176), ("moco_v2_800ep_pretrain", 200_704)])
def test_the_default_embedding_is_the_whole_feature_map(publish: Publish, name: str, dimension: int) -> None:
    assert load_embedder(find_backbone(name), publish(name), EmbedderConfig()).dimension == dimension


@pytest.fixture
def embedder(publish: Publish) -> Embedder:
    return load_embedder(find_backbone("resnet34"), publish("resnet34"), EmbedderConfig(batch_size=2, device="cpu"))


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (6000, 2), (3, 3), (223, 225), (2500, 1800)])
def test_images_of_any_shape_are_embedded(embedder: Embedder, shape: tuple[int, int]) -> None:
    for image in (draw(*shape), np.zeros((*shape, 3), np.uint8), np.full((*shape, 3), 255, np.uint8)):
        assert np.linalg.norm(embedder.embed([image])) == pytest.approx(1, abs=1e-5)


def test_read_only_images_and_views_are_accepted(embedder: Embedder) -> None:
    image = draw(300, 200)
    expected = embedder.embed([image])
    image.flags.writeable = False
    larger = np.zeros((400, 400, 3), np.uint8)
    larger[50:350, 50:250] = image
    assert np.array_equal(embedder.embed([image]), expected)
    assert np.array_equal(embedder.embed([larger[50:350, 50:250]]), expected)


def test_no_images_give_no_embeddings(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, embedder.dimension)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 5), (5, 5, 4)])
def test_an_array_that_is_not_an_rgb_image_is_rejected(embedder: Embedder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="RGB"):
        embedder.embed([np.zeros(shape, np.uint8)])


def test_an_embedding_does_not_depend_on_the_batch(embedder: Embedder) -> None:
    images = [draw(size, 150) for size in (100, 150, 200, 250, 300)]
    alone = np.concatenate([embedder.embed([image]) for image in images])
    assert np.abs(embedder.embed(images) - alone).max() < 1e-5


def test_the_ends_of_a_tall_image_affect_its_embedding(embedder: Embedder) -> None:
    plain = np.full((1200, 150, 3), 255, np.uint8)
    marked = plain.copy()
    marked[:60, :] = marked[-60:, :] = 0
    one, other = embedder.embed([plain, marked])
    assert one @ other < 0.999


def test_transposing_after_scaling_gives_the_same_embedding(embedder: Embedder) -> None:
    images = [draw(300, 200), draw(224, 224), draw(100, 400)]
    turned = embedder.embed_transposed(images, list(Transposition))
    assert turned.shape == (6, 3, embedder.dimension)
    for place, transposition in enumerate(Transposition):
        before = embedder.embed([transpose(image, transposition) for image in images])
        # Scaling rounds between rows and columns, so the results differ slightly.
        assert ((turned[place] * before).sum(1) > 0.999).all(), transposition
    assert np.abs(turned[1] - turned[0]).max() > 1e-3


def test_the_number_of_torch_threads_is_unchanged(publish: Publish) -> None:
    before = torch.get_num_threads()
    load_embedder(find_backbone("resnet34"), publish("resnet34"), EmbedderConfig(Pooling.AVG)).embed(IMAGES)
    assert torch.get_num_threads() == before


def test_half_precision_gives_nearly_the_same_scores(publish: Publish) -> None:
    exact, half = (
        load_embedder(find_backbone("resnet34"), publish("resnet34"), EmbedderConfig(precision=each, device="cpu"))
        for each in (Precision.FLOAT32, Precision.BFLOAT16)
    )
    one, other = exact.embed(IMAGES), half.embed(IMAGES)
    assert one.dtype == other.dtype == np.float32
    assert not np.array_equal(one, other)
    assert np.abs(one @ one.T - other @ other.T).max() < 2e-3


class Constant(Network):
    """A network that returns the same features for every image."""

    def __init__(self, values: list[float], size: tuple[int, int] = (4, 4)) -> None:
        super().__init__(Preprocessing(size))
        self.values = torch.tensor(values)

    def forward(self, images: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
        return self.values.expand(len(images), -1)


@pytest.mark.parametrize("values", [[0.0, 0.0], [torch.inf, 1.0], [torch.nan, 1.0]])
def test_an_image_without_features_has_the_zero_vector(values: list[float]) -> None:
    embedder = Embedder(Constant(values), EmbedderConfig(device="cpu"))
    assert np.array_equal(embedder.embed([draw(10, 10)]), [[0, 0]])


class Pixels(Network):
    """A network that returns the pixels as features."""

    def forward(self, images: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
        return images.flatten(1)


def test_images_are_transposed_before_scaling_to_a_non_square_input() -> None:
    embedder = Embedder(Pixels(Preprocessing((8, 16))), EmbedderConfig(device="cpu"))
    image = draw(60, 40)
    turned = embedder.embed_transposed([image], [Transposition.ROT90])[0]
    assert np.allclose(turned, embedder.embed([np.rot90(image)]), atol=1e-6)


class FullDevice(Pixels):
    """A network for which the device has room for one image, and at first for none."""

    attempts = 0

    def forward(self, images: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
        self.attempts += 1
        if len(images) > 1 or self.attempts == 1:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return super().forward(images, pooling)


def test_a_batch_that_exceeds_the_memory_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "WAITS", (0.0,))
    images, config = [draw(9, 9), draw(30, 20), draw(50, 70)], EmbedderConfig(device="cpu")
    transpositions = (Transposition.NONE, Transposition.ROT90)
    expected = Embedder(Pixels(Preprocessing((8, 8))), config).embed_transposed(images, transpositions)
    embedder = Embedder(FullDevice(Preprocessing((8, 8))), config)
    assert np.array_equal(embedder.embed_transposed(images, transpositions), expected)


def test_an_embedder_is_cached_until_its_weights_change(tmp_path: Path) -> None:
    backbone, path = find_backbone("resnet34"), tmp_path / "resnet34.pth"
    torch.save(build_resnet("resnet34").state_dict(), path)
    first, identity = load_embedder(backbone, tmp_path, EmbedderConfig()), identify(backbone, None, tmp_path)
    assert load_embedder(backbone, tmp_path, EmbedderConfig()) is first
    state = build_resnet("resnet34").state_dict()
    state["conv1.weight"] = state["conv1.weight"] * 2
    torch.save(state, path)
    assert load_embedder(backbone, tmp_path, EmbedderConfig()) is not first
    assert identify(backbone, None, tmp_path) != identity
    assert identify(backbone, Pooling.AVG, tmp_path) != identify(backbone, None, tmp_path)


class Reduced(Network):
    """A network whose features in a reduced format have an error, or that fails in it."""

    def __init__(self, error: float | Exception) -> None:
        super().__init__(Preprocessing((4, 4)))
        self.error = error

    def forward(self, images: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
        if isinstance(self.error, Exception) and torch.is_autocast_enabled("cpu"):
            raise self.error
        features = images.flatten(1)
        return features + (self.error * torch.arange(len(images))[:, None] if torch.is_autocast_enabled("cpu") else 0)


def load_reduced(error: float | Exception, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Embedder:
    """Load an embedder on a machine that prefers bfloat16, for a network with an error in that format."""
    monkeypatch.setattr("app.similarity.embedder.list_runtimes", lambda *_: [REDUCED, EXACT])
    monkeypatch.setattr("app.similarity.embedder.load_network", lambda *_: Reduced(error))
    (folder / "resnet34.pth").write_bytes(b"weights that are not loaded")
    config = EmbedderConfig(device="cpu", precision=Precision.AUTO)
    return load_embedder(find_backbone("resnet34"), folder, config, folder / "runtimes.json")


def test_a_format_with_the_same_scores_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_reduced(0.0, tmp_path, monkeypatch).runtime == REDUCED


def test_a_format_with_other_scores_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_reduced(0.5, tmp_path, monkeypatch).runtime == EXACT
    assert "scores differ by" in (tmp_path / "runtimes.json").read_text()


def test_a_format_that_torch_does_not_support_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = NotImplementedError("no such operation in BFloat16")
    assert load_reduced(error, tmp_path, monkeypatch).runtime == EXACT
    assert "the network fails: no such operation" in (tmp_path / "runtimes.json").read_text()


@pytest.mark.parametrize("name", ["resnet34", "dino_deitsmall16_pretrain"])
def test_openvino_gives_the_embeddings_of_torch(name: str, publish: Publish) -> None:
    embedder = load_embedder(find_backbone(name), publish(name), EmbedderConfig(device="cpu", batch_size=2))
    images = [*IMAGES, draw(50, 60)]
    expected = embedder.embed(images)
    try:
        embedder.use(OPENVINO)
        assert np.allclose(embedder.embed(images), expected, atol=1e-4)
    finally:
        embedder.use(EXACT)


def test_a_backbone_that_openvino_does_not_support_is_run_by_torch() -> None:
    class Unsupported(Network):
        def forward(self, images: torch.Tensor, pooling: Pooling | None) -> torch.Tensor:
            return torch.linalg.eigvals(images.mean(1)).real

    embedder = Embedder(Unsupported(Preprocessing((4, 4))), EmbedderConfig(device="cpu"))
    with pytest.raises(RuntimeError):
        find_difference(embedder, OPENVINO)
    assert embedder.runtime == EXACT
    assert len(embedder.embed(IMAGES)) == len(IMAGES)


def test_several_streams_give_the_embeddings_of_one(publish: Publish) -> None:
    config = EmbedderConfig(device="cpu", batch_size=2, streams=2)
    embedder = load_embedder(find_backbone("resnet34"), publish("resnet34"), config)
    batches = embedder.split(IMAGES)
    found = np.concatenate([*embedder.run(embedder.embed, batches)])
    assert len(batches) > 1
    assert np.allclose(found, np.concatenate([embedder.embed(batch) for batch in batches]), atol=1e-5)


@pytest.mark.parametrize(("size", "reduced"), [((8, 8), (8, 8, 3)), ((8, 16), (60, 40, 3))])
def test_a_reduced_image_has_the_same_embeddings(size: tuple[int, int], reduced: tuple[int, int, int]) -> None:
    embedder = Embedder(Pixels(Preprocessing(size)), EmbedderConfig(device="cpu"))
    image = draw(60, 40)
    small = embedder.reduce(image)
    assert small.shape == reduced
    expected = embedder.embed_transposed([image], list(Transposition))
    assert np.array_equal(embedder.embed_transposed([small], list(Transposition)), expected)
