"""Files as each project published them, built from fresh networks, become checkpoints of ours."""

import hashlib
import multiprocessing
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.card import read_card
from app.engine.checkpoints import load_checkpoint, load_object_checkpoint
from app.engine.import_maps import fill, fit, recognise, rename, without_parallel
from app.engine.import_projects import BY_NAME, PROJECTS, choose_release, releases_named
from app.engine.import_reader import Published
from app.engine.importers import import_checkpoint
from app.engine.worker import serve
from app.errors import UserError
from app.messages import CheckpointImported, ImportCheckpoint, Progress
from app.models.base import Network
from app.models.build import create_network, preset_config

Tensors = dict[str, torch.Tensor]


# --- files in the published layouts


def mfrgn_name(ours: str, *, shared: bool) -> str:
    """From our name back to the released code's, by PRETRAINED.md."""
    view = {"satellite": "_sat", "query": "_grd", "shared": ""}
    rules = (
        (r"backbone\.", "backbone.backbone."),
        (r"fourth\.", "embed.input_proj.3."),
        (r"embed\.", "embed.input_proj."),
        (r"flows\.(satellite|shared)\.norm\.", "norm1."),
        (r"flows\.query\.norm\.", "norm2."),
        (r"flows\.(\w+)\.scam\.high\.", "transformer{view}_H.layers."),
        (r"flows\.(\w+)\.scam\.low\.", "transformer{view}_L.layers."),
        (r"flows\.(\w+)\.global_projection\.", "proj{view}."),
        (r"flows\.(\w+)\.local_projection\.", "proj_local{view}."),
        (r"flows\.(\w+)\.gpab\.(\d)\.prompt\.", "proj_gl{view}.{n}."),
        (r"flows\.(\w+)\.gpab\.(\d)\.channel\.", "ch{view}.{n}."),
        (r"flows\.(\w+)\.gpab\.(\d)\.space\.", "sp{view}.{n}."),
    )
    for pattern, name in rules:
        if m := re.match(pattern, ours):
            groups = (*m.groups(), "", "")
            return name.format(view=view.get(groups[0], ""), n=groups[1]) + ours[m.end() :]
    return ours


def detgeo_name(ours: str) -> str:
    for mine, theirs in (
        ("query_trunk.net.", "query_resnet.base_model."),
        ("satellite_trunk.", "reference_darknet."),
        ("click.", "combine_clickptns_conv."),
        ("query_mapping.", "query_mapping_visu."),
        ("satellite_mapping.", "reference_mapping_visu."),
        ("head.", "fcn_out."),
    ):
        if ours.startswith(mine):
            return theirs + ours.removeprefix(mine)
    return ours


def mift_file(net: Network) -> Tensors:
    """With the ImageNet head and the constant tables that the released code saves."""
    state = {f"model_1.{k}": t for k, t in net.state_dict().items()}
    device = state["model_1.transformer.norm.weight"].device
    width = state["model_1.transformer.norm.weight"].shape[0]
    trunk = "model_1.transformer"
    state[f"{trunk}.head.weight"] = torch.zeros(1000, width, device=device)
    state[f"{trunk}.head.bias"] = torch.zeros(1000, device=device)
    group = net.config.group
    for key in [k for k in state if k.endswith(".attn.qkv.weight")]:
        attn = key.removesuffix(".qkv.weight")
        state[f"{attn}.biases"] = torch.zeros((2 * group - 1) ** 2, 2, device=device)
        table = torch.zeros(group**2, group**2, dtype=torch.long, device=device)
        state[f"{attn}.relative_position_index"] = table
    return state


def fsra_file(net: Network) -> Tensors:
    state = {f"model_1.{k}": t for k, t in net.state_dict().items()}
    like = state["model_1.transformer.norm.weight"]
    state["model_1.transformer.fc.weight"] = like.new_zeros(1000, len(like))
    state["model_1.transformer.fc.bias"] = like.new_zeros(1000)
    return state


def lpn_file(net: Network, *, shared: bool = True) -> Tensors:
    """Three views; the street's trunk and ImageNet's heads have no use here."""
    own = net.state_dict()
    state = {k: t for k, t in own.items() if k.startswith("classifier")}
    trunk = {k.removeprefix("model_1."): t for k, t in own.items() if k.startswith("model_1.")}
    width = next(t for k, t in own.items() if k == "classifier0.add_block.0.weight").shape[1]
    trunk["model.fc.weight"] = trunk["model.conv1.weight"].new_zeros(1000, width)
    trunk["model.fc.bias"] = trunk["model.conv1.weight"].new_zeros(1000)
    state |= {f"model_1.{k}": t for k, t in trunk.items()}
    state |= {f"model_2.{k}": torch.zeros_like(t) for k, t in trunk.items()}
    drone = trunk if shared else {k: own.get(f"model_3.{k}", t) for k, t in trunk.items()}
    return state | {f"model_3.{k}": t for k, t in drone.items()}


def mfrgn_file(net: Network) -> Tensors:
    shared = net.config.shared
    return {mfrgn_name(k, shared=shared): t for k, t in net.state_dict().items()}


def detgeo_file(net: Network) -> Tensors:
    return {f"module.{detgeo_name(k)}": t for k, t in net.state_dict().items()}


def transgeo_file(net: Network) -> Tensors:
    return {f"module.{k}": t for k, t in net.state_dict().items()}


FILES = {
    "sample4geo": lambda net: net.state_dict(),
    "mfrgn": mfrgn_file,
    "mift": mift_file,
    "detgeo": detgeo_file,
    "transgeo": transgeo_file,
    "fsra": fsra_file,
    "lpn": lpn_file,
}
RELEASED = {"fusion": False, "region_rule": "equal"}  # of MIFT
WRAPPED = ("detgeo", "transgeo")  # published inside {"epoch", "state_dict", ...}


def network_of(name: str, preset: str, **changes: object) -> Network:
    torch.manual_seed(0)
    return create_network(name, {**preset_config(name, preset), **changes})


def meta(name: str, preset: str, **changes: object) -> Network:
    with torch.device("meta"):
        return network_of(name, preset, **changes)


def small(name: str) -> Network:
    changes: dict[str, object] = {"classes": 7} if name in ("mift", "fsra", "lpn") else {}
    return network_of(name, "smallest", **changes | (RELEASED if name == "mift" else {}))


# --- published sizes, by names and shapes

PAPER = [(project.name, preset) for project in PROJECTS for preset in project.presets]
KEYS = {  # used and dropped; PRETRAINED.md
    "sample4geo": (343, 0),
    "detgeo": (584, 0),
    "transgeo": (310, 0),
    "mift": (10 + 12 * 26 + 3 * 6 + 2 + 4 * 9, 2 + 2 * 12),
    "fsra": (4 + 8 * 11 + 2 + 4 * 9, 2),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "preset"), PAPER)
def test_every_key_of_a_published_size_has_its_place(name, preset):
    project = BY_NAME[name]
    # LPN's file says by its numbers whether the views share a trunk; others need none.
    net = (network_of if name == "lpn" else meta)(project.network, preset)
    file, parallel = without_parallel(FILES[name](net))
    assert parallel == (name in WRAPPED)
    assert recognise(file, file="f") is project
    found = rename(project, file)
    fitted = {p: fit(project, found, p) for p in project.presets}
    assert fitted[preset].mistakes == ()
    config = fitted[preset].network.config
    assert config == net.config
    expected = {"mfrgn": (476 if getattr(config, "shared", False) else 593, 0)} | KEYS
    if name in expected:
        assert (len(found.ours), len(found.dropped)) == expected[name]
    # Where the input size is not in the weights, names must tell it.
    fitting = {str(f.config) for f in fitted.values() if not f.mistakes}
    assert len(fitting) == {"sample4geo": 3, "detgeo": 2}.get(name, 1)


@pytest.mark.slow
def test_the_backbone_of_sample4geo_is_told_by_its_shapes():
    net = meta("sample4geo", "paper-university", backbone="convnext_tiny.fb_in22k_ft_in1k_384")
    project = BY_NAME["sample4geo"]
    fitted = fit(project, rename(project, net.state_dict()), "paper-university")
    assert fitted.mistakes == ()
    assert fitted.config["backbone"].startswith("convnext_tiny")


@pytest.mark.parametrize(
    ("query", "satellite", "preset"),
    [
        ((112, 616), (400, 400), "paper-cvusa-cvact"),
        ((320, 640), (400, 400), "paper-vigor"),
    ],
)
def test_transgeo_pictures_are_as_large_as_there_are_places(query, satellite, preset):
    net = meta("transgeo", preset, query_size=query, satellite_size=satellite)
    project = BY_NAME["transgeo"]
    found = rename(project, net.state_dict())
    for tried in project.presets:
        fitted = fit(project, found, tried)
        assert fitted.mistakes == ()
        assert (fitted.config["query_size"], fitted.config["satellite_size"]) == (query, satellite)


@pytest.mark.parametrize(
    ("name", "key", "places", "sign"),
    [
        ("transgeo", "query_net.pos_embed", 2 + 99, "cut into 99 patches"),
        ("transgeo", "reference_net.pos_embed", 2 + 99, "cannot be cut into the 99 patches"),
        ("fsra", "model_1.transformer.pos_embed", 1 + 99, "cannot be cut into the 99 patches"),
    ],
)
def test_places_of_no_known_size_are_refused_with_those_that_are(name, key, places, sign):
    project = BY_NAME[name]
    file = dict(without_parallel(FILES[name](meta(name, project.presets[0])))[0])
    file[key] = torch.empty(1, places, file[key].shape[2], device="meta")
    with pytest.raises(UserError, match=sign) as refusal:
        fit(project, rename(project, file), project.presets[0])
    assert re.search(r"\d{3}", refusal.value.hint)


def test_fsra_of_larger_pictures_is_told_by_its_places():
    project = BY_NAME["fsra"]
    large = meta("fsra", "paper-university", query_size=(384, 384), satellite_size=(384, 384))
    fitted = fit(project, rename(project, fsra_file(large)), "paper-university")
    assert fitted.mistakes == ()
    assert fitted.config["satellite_size"] == (384, 384)


@pytest.mark.slow
def test_mfrgn_of_another_size_is_refused_with_the_sizes_that_fit(given, tmp_path):
    net = meta("mfrgn", "paper-cvusa", satellite_size=(224, 224))
    given(mfrgn_file(net))
    with pytest.raises(UserError, match=r"proj_sat\.weight is .*, not \(14, 958\)") as refusal:
        import_checkpoint(ImportCheckpoint(tmp_path / "weights_cvusa.pth"))
    assert "paper-vigor: 320 x 640 and 320 x 320" in refusal.value.hint


# --- small ones, all the way


@pytest.fixture
def given(monkeypatch):
    """What the reader makes of the file that is imported next; it has tests of its own."""

    def give(tensors: Tensors, **said: object) -> None:
        tensors = {k: t.detach().clone() for k, t in tensors.items()}
        read = Published(tensors, "PyTorch zip", "", ())
        monkeypatch.setattr(
            "app.engine.importers.read_published", lambda *_, **__: replace(read, **said)
        )

    return give


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "net_119.pth"
    path.write_bytes(b"stands for the weights")
    return path


@pytest.mark.parametrize("name", [n for n in FILES if n != "detgeo"])
def test_an_imported_checkpoint_describes_as_the_network_that_was_published(given, file, name):
    net = small(name).eval()
    given(FILES[name](net), inside="state_dict" if name in WRAPPED else "")
    done = import_checkpoint(ImportCheckpoint(file, preset="smallest"))
    checkpoint = load_checkpoint(done.checkpoint, device="cpu")
    assert (done.card.network, done.project) == (name, BY_NAME[name].title)
    rng = np.random.default_rng(0)
    for view in (net.config.query_view, "satellite"):
        pictures = rng.integers(0, 255, (2, *net.input_size(view), 3), np.uint8)
        images = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
        with torch.inference_mode():
            wanted = net.describe(net.preprocess(images, view), view).numpy()
        np.testing.assert_allclose(checkpoint.describe(pictures, view), wanted, atol=4e-3)
        assert ((checkpoint.describe(pictures, view) * wanted).sum(axis=1) > 0.9999).all()


def test_an_imported_object_checkpoint_finds_as_the_network_that_was_published(given, file):
    net = small("detgeo").eval()
    given(detgeo_file(net), inside="state_dict", ignored=("epoch", "best_loss", "optimizer"))
    done = import_checkpoint(ImportCheckpoint(file, preset="smallest"))
    assert (done.card.task, done.card.descriptor) == ("object", 0)
    assert done.ignored == ("epoch", "best_loss", "optimizer")
    loaded = load_object_checkpoint(done.checkpoint, device="cpu").network
    images = torch.rand(1, 3, *net.input_size("satellite"))
    with torch.inference_mode():
        wanted, found = net.encode_satellite(images), loaded.encode_satellite(images)
    torch.testing.assert_close(found, wanted, atol=1e-2, rtol=1e-2)


def test_the_card_says_where_the_weights_come_from(given, file):
    given(small("sample4geo").state_dict())
    cvact = file.with_name("weights_e36_90.8149.pth")
    file.rename(cvact)
    done = import_checkpoint(ImportCheckpoint(cvact, preset="smallest"))
    card = read_card(done.checkpoint)
    digest = hashlib.sha256(b"stands for the weights").hexdigest()
    assert card.training["source"] == cvact.name
    assert card.training["source_sha256"] == digest
    assert "not stated" in card.licence
    assert cvact.name in card.notes
    assert done.checkpoint.name.endswith(f"{digest[:8]}.safetensors")
    assert done.checkpoint.parent.name == "checkpoints"


def test_what_the_user_says_of_a_checkpoint_stands(given, file, tmp_path):
    given(fsra_file(small("fsra")))
    done = import_checkpoint(
        ImportCheckpoint(
            file, tmp_path / "mine.safetensors", "fsra", "smallest", tile_size_m=33.0, title="Mine"
        )
    )
    card = read_card(tmp_path / "mine.safetensors")
    assert (card.title, card.tile_size_m, card.config["classes"]) == ("Mine", 33.0, 7)
    assert (done.checkpoint, done.card.title) == (tmp_path / "mine.safetensors", "Mine")


@pytest.mark.parametrize(
    ("path", "data", "preset", "score"),
    [
        ("weights_e40_98.6830.pth", "CVUSA", "paper-cvusa", "98.68"),
        ("cvact/convnext_base/weights_e36_90.8149.pth", "CVACT", "paper-cvusa", "90.81"),
        ("cvact/convnext_base/weights.pth", "CVACT", "paper-cvusa", "90.81"),
        ("weights_e40_0.6109.pth", "VIGOR", "paper-vigor", "61.70"),
        ("university/weights_e1_0.9515.pth", "University-1652", "paper-university", "92.65"),
    ],
)
def test_names_tell_the_data_set_where_shapes_do_not(path, data, preset, score):
    project = BY_NAME["sample4geo"]
    file = Path("/downloads") / path
    assert {release.preset for release in releases_named(project, file)} == {preset}
    chosen = choose_release(project, preset, file)
    assert (chosen.data, chosen.why) == (data, "by its name")
    assert score in chosen.score


@pytest.mark.slow
def test_where_neither_shapes_nor_names_tell_the_user_is_asked(given, tmp_path):
    given(meta("sample4geo", "paper-university").state_dict())
    with pytest.raises(UserError, match="fit paper-cvusa, paper-vigor, paper-university") as asked:
        import_checkpoint(ImportCheckpoint(tmp_path / "weights.pth"))
    assert "Choose the data set" in asked.value.hint


def test_two_data_sets_of_one_shape_are_both_named():
    chosen = choose_release(BY_NAME["transgeo"], "paper-cvusa-cvact", Path("model_best.pth.tar"))
    assert chosen.data == "CVUSA or CVACT"
    assert "tile size is that of CVUSA" in chosen.why


# --- LPN's trunks


def test_a_drone_trunk_that_is_the_satellites_is_taken_once():
    net = small("lpn")
    found = rename(BY_NAME["lpn"], lpn_file(net))
    fitted = fit(BY_NAME["lpn"], found, "smallest")
    assert fitted.mistakes == ()
    assert fitted.config["shared"] is True
    assert fitted.config["rings"] == 2
    assert not any(key.startswith("model_3") for key in found.ours)


def test_a_drone_trunk_of_its_own_is_kept():
    net = network_of("lpn", "smallest", classes=7, shared=False)
    found = rename(BY_NAME["lpn"], lpn_file(net, shared=False))
    fitted = fit(BY_NAME["lpn"], found, "smallest")
    assert fitted.mistakes == ()
    assert fitted.config["shared"] is False
    filled = fill(fitted, found, file="f").state_dict()
    for key, tensor in net.state_dict().items():
        assert torch.equal(filled[key], tensor), key


def test_lpn_without_drone_pictures_is_refused():
    file = {k: t for k, t in lpn_file(small("lpn")).items() if not k.startswith("model_3")}
    with pytest.raises(UserError, match="no trunk of drone pictures"):
        rename(BY_NAME["lpn"], file)


# --- defects


def test_two_names_for_one_place_are_refused():
    state = fsra_file(small("fsra"))
    state["transformer.norm.weight"] = state["model_1.transformer.norm.weight"]
    with pytest.raises(UserError, match=r"some weights twice: model_1\.transformer\.norm\.weight"):
        rename(BY_NAME["fsra"], state)


def test_a_street_trunk_with_more_than_the_others_is_refused():
    state = lpn_file(small("lpn")) | {"model_2.model.attention.weight": torch.ones(2)}
    with pytest.raises(UserError, match=r"model\.attention\.weight of model_2 has no like"):
        rename(BY_NAME["lpn"], state)


def test_the_side_of_mifts_groups_is_told_by_its_tables():
    state = mift_file(network_of("mift", "smallest", **RELEASED, group=1, classes=7))
    project = BY_NAME["mift"]
    assert fit(project, rename(project, state), "smallest").config["group"] == 1
    key = next(key for key in state if key.endswith("relative_position_index"))
    state[key] = torch.zeros(9, 9, dtype=torch.long)
    with pytest.raises(UserError, match=r"sides of \[1, 3\] tokens"):
        fit(project, rename(project, state), "smallest")


def without(key: str):
    return lambda state: {k: t for k, t in state.items() if k != key}


def with_value(key: str, change):
    return lambda state: state | {key: change(state.get(key))}


NORM = "model_1.transformer.norm.weight"


@pytest.mark.parametrize(
    ("spoil", "sign"),
    [
        (without(NORM), f"{NORM} is missing$"),
        (with_value("model_1.extra.weight", lambda _: torch.ones(2)), "extra.weight is not part"),
        (with_value(NORM, lambda t: t[:-1]), rf"{NORM} is \(31,\), not \(32,\)"),
        (with_value(NORM, lambda t: t * torch.nan), f"{NORM} is not finite"),
        (with_value(NORM, lambda t: t / 0), f"{NORM} is not finite"),
        (with_value(NORM, lambda t: t.long()), f"{NORM} is of int64, not float32"),
        (with_value("model_1.transformer.fd.weight", lambda _: torch.ones(2)), "fd.weight is not"),
        (
            lambda state: {k: t for k, t in state.items() if ".blocks.0." not in k},
            r"is missing, .* is missing, .* is missing and \d+ more",
        ),
    ],
    ids=["missing", "extra", "misshaped", "NaN", "infinite", "whole numbers", "similar", "many"],
)
def test_one_defect_is_refused_by_name(given, file, tmp_path, spoil, sign):
    given(spoil(fsra_file(small("fsra"))))
    output = tmp_path / "out.safetensors"
    with pytest.raises(UserError, match=sign) as refusal:
        import_checkpoint(ImportCheckpoint(file, output, preset="smallest"))
    assert "net_119.pth" in str(refusal.value)
    assert not output.exists()


@pytest.mark.parametrize("name", ["sample4geo", "fsra", "lpn"])
def test_a_parallel_training_leaves_its_prefix_and_is_imported_too(given, file, name):
    given({f"module.{k}": t for k, t in FILES[name](small(name)).items()})
    done = import_checkpoint(ImportCheckpoint(file, preset="smallest"))
    assert "saved by DataParallel" in done.found
    assert done.used == len(small(name).state_dict())


def test_a_wrong_project_is_told_the_right_one(given, file):
    given(fsra_file(small("fsra")))
    with pytest.raises(UserError, match=r"no file of LPN: its keys are those of FSRA") as refusal:
        import_checkpoint(ImportCheckpoint(file, project="lpn", preset="smallest"))
    assert "as fsra" in refusal.value.hint
    with pytest.raises(UserError, match="Files of yolo cannot be imported"):
        import_checkpoint(ImportCheckpoint(file, project="yolo"))


@pytest.mark.parametrize(
    ("keys", "sign"),
    [
        (["model_1.convnext.stem.0.weight"], "MCCG, DAC, CAMP or MEAN, which cannot be imported"),
        (["model_1.model.conv1.weight", "classifier.x"], "the University-1652 baseline"),
        (["transformer.embeddings.cls_token"], "L2LTR"),
        (["conv1.weight", "fc.weight"], "a ResNet of ImageNet"),
        (["whatever"], "is of no known project: its keys are whatever"),
    ],
)
def test_files_of_others_are_refused_by_their_name(given, file, keys, sign):
    given({key: torch.ones(2) for key in keys})
    with pytest.raises(UserError, match=sign) as refusal:
        import_checkpoint(ImportCheckpoint(file))
    assert "TransGeo" in refusal.value.hint


def test_a_file_of_two_projects_asks_which_it_is():
    both = fsra_file(small("fsra")) | mift_file(small("mift"))
    with pytest.raises(UserError, match="keys of MIFT and of FSRA") as refusal:
        recognise(both, file="f")
    assert refusal.value.hint == "Say which it is: --as mift or --as fsra."


def test_a_skyfix_checkpoint_is_not_imported_again(given, file, tmp_path):
    given(small("sample4geo").state_dict(), is_ours=True)
    with pytest.raises(UserError, match="is a Skyfix checkpoint already"):
        import_checkpoint(ImportCheckpoint(file, tmp_path / "o.safetensors"))


def test_a_result_that_could_not_be_found_or_would_cost_the_source_is_refused(file, tmp_path):
    with pytest.raises(UserError, match="is no name for a checkpoint") as refusal:
        import_checkpoint(ImportCheckpoint(file, tmp_path / "out.pth"))
    assert "out.safetensors" in refusal.value.hint
    source = file.rename(tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="written over the file that it comes from"):
        import_checkpoint(ImportCheckpoint(source, source.parent / "." / "w.safetensors"))


def test_the_presets_of_the_projects_are_in_the_catalog():
    for project in PROJECTS:
        for preset in project.presets:
            assert preset_config(project.network, preset)


@pytest.mark.slow
def test_the_engine_process_imports_by_a_process_of_its_own(tmp_path):
    """A daemon may have no children of multiprocessing's, and the window's engine is one."""
    torch.save(small("sample4geo").state_dict(), tmp_path / "w.pth")
    request = ImportCheckpoint(tmp_path / "w.pth", tmp_path / "o.safetensors", preset="smallest")
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    engine = context.Process(target=serve, args=(there, "cpu"), daemon=True)
    engine.start()
    there.close()
    here.send((1, request))
    told = []
    while here.poll(120):
        told.append(here.recv().body)
        if not isinstance(told[-1], Progress):
            break
    here.close()
    engine.join(20)
    assert isinstance(told[-1], CheckpointImported), told
    assert any("reading w.pth" in body.note for body in told[:-1])
    assert read_card(request.output).network == "sample4geo"
