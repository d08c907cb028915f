"""Image models: `tulle train` on folders of pictures, and what users get of them."""

import json

import numpy as np
import pytest

from conftest import assert_refused, idx_bytes
from test_recover import png

SMALL = {"preset": "smlp", "image-size": "8", "patch": "2", "width": "8", "depths": "1,1", "epochs": "14",
         "batch-size": "8", "learning-rate": "0.01", "compare-dense": "none", "progress": "none"}


def train(tulle, data, **flags):
    """`tulle train` of a small net; flags are named with _ in place of -."""
    words = SMALL | {name.replace("_", "-"): value for name, value in flags.items()}
    return tulle("train", "--train", data, *(f"--{name}={value}" for name, value in words.items()))


def picture(bright_rows, seed):
    pixels = np.random.default_rng(seed).integers(0, 40, (8, 8)).astype(np.uint8)
    (pixels if bright_rows else pixels.T)[2:4] = 220
    return pixels


@pytest.fixture
def folder(tmp_path):
    for name, rows in (("columns", False), ("rows", True)):
        (tmp_path / f"pictures/{name}").mkdir(parents=True)
        for i in range(24):
            (tmp_path / f"pictures/{name}/{i}.png").write_bytes(png(picture(rows, 2 * i + rows)))
    return tmp_path / "pictures"


@pytest.fixture
def model(tmp_path, tulle, folder):
    assert train(tulle, folder).code == 0
    return tmp_path / "out/run/model.safetensors"


def test_a_folder_of_pictures_is_learnt_and_single_pictures_get_their_class(tmp_path, tulle, model):
    for rows in (False, True):
        (tmp_path / "new.png").write_bytes(png(picture(rows, 1000 + rows)))
        found = json.loads(tulle("predict", model, "--image", tmp_path / "new.png", "--as=jsonl", check=True).out)
        assert found["classes"][0]["class"] == ("rows" if rows else "columns")
        assert sum(c["probability"] for c in found["classes"]) == pytest.approx(1, abs=1e-5)
    shown = tulle("predict", model, "--image", tmp_path / "new.png", "--top=1", check=True).out
    assert shown.endswith("%  rows\n") and shown.count("\n") == 1


def test_every_verb_takes_an_image_model(tmp_path, tulle, folder, model):
    assert "row_and_column_mix" in tulle("inspect", model, check=True).out
    page = (tmp_path / "out/run/report.html").read_text()
    assert all(f"<figcaption>block {b}, {of}</figcaption>" in page for b in (1, 2) for of in ("rows", "columns"))
    assert "block 3" not in page
    counts = json.loads(tulle("inspect", model, "--json", check=True).out)["image_net"]
    assert counts["image"] == [1, 8, 8] and counts["parameters"]["fuse"] == 3 * 8 * 8 + 3 * 16 * 16
    score = json.loads(tulle("eval", model, "--data", folder, "--json", check=True).out)
    assert score["accuracy"] > 0.9
    for dtype in ("f32", "bf16"):
        rows = tulle("predict", model, "--data", folder, "--dtype", dtype, check=True).out.splitlines()
        assert len(rows) == 49
    tulle("prune", model, "--connections=magnitude:0.5", "-o", tmp_path / "small.safetensors", check=True)
    assert json.loads(tulle("inspect", tmp_path / "small.safetensors", "--json", check=True).out)["density"] < 0.8
    tulle("prune", model, "--neurons=importance:0.5", "-o", tmp_path / "narrow.safetensors", check=True)
    narrow = json.loads(tulle("inspect", tmp_path / "narrow.safetensors", "--json", check=True).out)["image_net"]
    assert narrow["parameters"]["channel_mix"] == sum(2 * (c * 3 // 2) * c + c * 3 // 2 + c for c in (8, 16))
    assert narrow["parameters"]["fuse"] == counts["parameters"]["fuse"]
    assert json.loads(tulle("eval", tmp_path / "narrow.safetensors", "--data", folder, "--json", check=True).out)["accuracy"] > 0.6
    assert tulle("export", tmp_path / "narrow.safetensors", "--onnx=narrow.onnx", check=True).out
    assert tulle("bench", tmp_path / "small.safetensors", "--batch=1", check=True).out


def test_a_picture_of_another_size_is_resized_or_refused(tmp_path, tulle, model):
    large = np.kron(picture(True, 5), np.ones((4, 4), np.uint8))
    (tmp_path / "large.png").write_bytes(png(large))
    assert "rows" in tulle("predict", model, "--image", tmp_path / "large.png", "--top=1", check=True).out
    refused = tulle("predict", model, "--image", tmp_path / "large.png", "--exact-size")
    assert_refused(refused, 65, "large.png", "found 32 x 32 pixels, expected 8 x 8")


def test_what_is_said_of_a_picture_goes_into_a_file(tmp_path, tulle, model):
    (tmp_path / "new.png").write_bytes(png(picture(True, 5)))
    shown = tulle("predict", model, "--image=new.png", check=True).out
    done = tulle("predict", model, "--image=new.png", "-o", "new.txt", check=True)
    assert (done.out, (tmp_path / "new.txt").read_text()) == ("", shown)
    assert tulle("predict", model, "--image=new.png", "--dtype=bf16", "--as=jsonl", check=True).out != tulle(
        "predict", model, "--image=new.png", "--as=jsonl", check=True).out
    assert_refused(tulle("predict", model, "--image=new.png", "--data=none"), 78, "both --image and --data")


def test_a_model_of_numbers_takes_pictures_too(tmp_path, tulle):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 8, 8))
    (tmp_path / "x").write_bytes(idx_bytes(pixels))
    (tmp_path / "y").write_bytes(idx_bytes(np.arange(40)))
    tulle("train", "--train=x", "--train-labels=y", "--task=regression", "--loss=mse", "--hidden=8", "--epochs=1",
          "--batch-size=10", "--compare-dense=none", "--progress=none", check=True)
    (tmp_path / "one.png").write_bytes(png(pixels[0].astype(np.uint8)))
    rows = tulle("predict", "out/run/model.safetensors", "--data=x", "--label-column=none", check=True).out.splitlines()
    found = tulle("predict", "out/run/model.safetensors", "--image=one.png", check=True).out.splitlines()
    assert found[0] == rows[0] == "prediction" and float(found[1]) == pytest.approx(float(rows[1]), rel=1e-5)
    line = json.loads(tulle("predict", "out/run/model.safetensors", "--image=one.png", "--as=jsonl", check=True).out)
    assert line == {"image": "one.png", "prediction": pytest.approx(float(rows[1]), rel=1e-5)}


def test_a_model_of_pixels_that_were_no_bytes_refuses_pictures(tmp_path, tulle):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8)).astype(np.uint8)
    floats = b"\x00\x00\x0d\x03" + b"".join(int(n).to_bytes(4, "big") for n in pixels.shape) + (pixels / 255).astype(">f4").tobytes()
    (tmp_path / "x").write_bytes(floats)
    (tmp_path / "y").write_bytes(idx_bytes(np.arange(40) % 2))
    assert train(tulle, "x", train_labels="y", epochs="1").code == 0
    (tmp_path / "one.png").write_bytes(png(pixels[0]))
    assert_refused(tulle("predict", "out/run/model.safetensors", "--image=one.png"), 78, "pixels between 0 and 1", "bytes")


def test_a_folder_of_another_size_than_the_model_is_refused_or_resized(tmp_path, tulle, folder, model):
    large = tmp_path / "large"
    for path in folder.rglob("*.png"):
        (large / path.parent.name).mkdir(parents=True, exist_ok=True)
        rows = path.parent.name == "rows"
        (large / path.parent.name / path.name).write_bytes(
            png(np.kron(picture(rows, 2 * int(path.stem) + rows), np.ones((2, 2), np.uint8))))
    for verb in (["eval"], ["predict"]):
        assert_refused(tulle(*verb, model, "--data", large), 65,
                       "found 16 x 16 pixels in 1 channel, expected 8 x 8 pixels in 1 channel", "data.resize")
        assert tulle(*verb, model, "--data", large, "--resize=8").code == 0


def test_sides_that_patches_do_not_fill_are_padded_where_that_is_asked_for(tmp_path, tulle, folder):
    assert_refused(train(tulle, folder, image_size="0", patch="3"), 78, "model.patch = 3, such as 6 or 9")
    padded = train(tulle, folder, image_size="0", patch="3", pad_input="true", epochs="1")
    assert padded.code == 0 and "tulle: warning: tokens of stage 0, found 3 x 3" in padded.err
    inspected = json.loads(tulle("inspect", tmp_path / "out/run/model.safetensors", "--json", check=True).out)
    assert inspected["image_net"]["image"] == [1, 9, 9]
    assert_refused(train(tulle, folder, image_size="0", patch="3", pad_input="true", strict_size="true"), 78,
                   "model.strict_size, found 3 x 3 tokens in stage 0")
    assert "warning" not in train(tulle, folder, epochs="1", name="even").err


def test_hidden_channels_go_while_an_image_net_learns(tmp_path, tulle, folder):
    flags = dict(importance_percentile="25", importance_start="3", importance_every="4 epoch", density="0.5", rule="set")
    assert train(tulle, folder, **flags).code == 0
    record = [json.loads(line) for line in (tmp_path / "out/run/metrics.jsonl").read_text().splitlines()]
    events = [line["neurons"] for line in record if line.get("event") == "importance" or "neurons" in line]
    assert len(events) == 3 and events[0] == [18, 36] and all(a > b for a, b in zip(events[0], events[2]))
    score = json.loads(tulle("eval", tmp_path / "out/run/model.safetensors", "--data", folder, "--json", check=True).out)
    assert score["accuracy"] > 0.9


def test_damaged_pictures_stop_the_training_or_are_left_out(tmp_path, tulle, folder):
    (folder / "rows/bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert_refused(train(tulle, folder), 65, "rows/bad.png")
    assert not (tmp_path / "out").exists()
    assert train(tulle, folder, bad_images="skip", epochs="1").code == 0


def test_pictures_decoded_beside_the_steps_teach_the_same_network(tmp_path, tulle, folder):
    def losses(name, **flags):
        assert train(tulle, folder, name=name, epochs="2", augment="hflip,crop:0.5", **flags).code == 0
        lines = map(json.loads, (tmp_path / f"out/{name}/metrics.jsonl").read_text().splitlines())
        epochs = [line for line in lines if "phase_s" in line]
        assert all(epoch["phase_s"]["data"] >= 0 for epoch in epochs)  # seconds waited for batches
        return [epoch["train_loss"] for epoch in epochs]

    early = losses("early")
    assert len(early) == 2 and losses("late", decode="late") == early
    assert losses("one", decode="late", threads="1") == early


def test_a_damaged_picture_decoded_late_stops_the_training_by_name(tmp_path, tulle, folder):
    whole = png(picture(True, 7))
    (folder / "rows/bad.png").write_bytes(whole[: len(whole) - 30])
    refused = train(tulle, folder, decode="late", scale="unit")
    assert refused.code == 65 and "image 'rows/bad.png', found" in refused.err.splitlines()[-1]
    assert not (tmp_path / "out/run/model.safetensors").exists()
    assert_refused(train(tulle, folder, decode="late", name="before"), 65, "rows/bad.png")  # scale = channel looks at all
    assert not (tmp_path / "out/before").exists()
    assert_refused(train(tulle, folder, decode="late", bad_images="skip"), 78, "data.bad_images, found 'skip'")


def test_pictures_of_several_sizes_need_a_size(tmp_path, tulle, folder):
    (folder / "rows/wide.png").write_bytes(png(np.zeros((8, 12), np.uint8)))
    assert_refused(train(tulle, folder), 65, "rows/wide.png", "data.resize")
    assert train(tulle, folder, resize="8", epochs="1").code == 0


def test_what_an_image_net_cannot_be_is_said_in_one_line(tulle, folder):
    assert_refused(train(tulle, folder, patch="3"), 78, "model.patch = 3, such as 6 or 9")
    assert_refused(train(tulle, folder, depths="1,1,1,1"), 78, "no tokens for stage 3")
    assert_refused(train(tulle, folder, image_size="7"), 78, "model.image_size, found 7")
    assert_refused(train(tulle, folder, augment="vflip"), 78, "data.augment, found 'vflip'")
    (folder / "cats").mkdir()
    assert_refused(train(tulle, folder), 65, "folder 'cats', found no files")


def test_data_that_are_no_images_are_refused(tmp_path, tulle):
    (tmp_path / "t.csv").write_text("".join(f"{i},{i % 5},{i % 2}\n" for i in range(40)))
    assert_refused(train(tulle, tmp_path / "t.csv", scale="unit"), 78, "no images")
    assert_refused(train(tulle, tmp_path / "t.csv"), 78, "data.scale, found 'channel'")
