"""tulle report: pages about runs, and train --serve: the page of a run that goes on."""

import base64
import hashlib
import http.client
import json
import re
import shutil
import subprocess
import time
from html.parser import HTMLParser

import numpy as np
import pytest

from conftest import assert_refused, idx_bytes, write_problem


class Page(HTMLParser):
    """What a page is made of; fails on elements that are closed wrongly."""

    VOID = {"meta", "img", "br"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.scripts, self.headings = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "action", "data", "poster")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> after {self.open[-3:]}"

    def handle_data(self, text):
        if self.open and self.open[-1] == "script":
            self.scripts.append(text)
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append(text.strip())


def page_of(path):
    """The page, after what holds for every one."""
    text = path.read_text()
    page = Page(text)
    assert "http://" not in text and "https://" not in text
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not set(page.tags) & {"link", "iframe", "object", "form"}
    assert len(text) < 500_000
    *data, script = page.scripts
    assert [set(json.loads(one)) for one in data] == [{"runs"}]
    named = "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src '{named}'" in text, f"page_script_hash() has to be {named}"
    assert script.count("\n") <= 150
    assert text.count("</script") == 2
    return page, text


@pytest.fixture
def trained(problem, tulle):
    tulle("train", "config.toml", "--report=false", check=True)
    return tulle.folder / "out" / "run"


def test_a_run_becomes_a_page_in_its_folder(trained, tulle):
    result = tulle("report", "out/run", check=True)
    assert result.out == "report  out/run/report.html\n"
    page, text = page_of(trained / "report.html")
    for heading in ("Accuracy", "Loss", "Learning rate", "Dropped and grown", "Time by phase", "Layers", "In-degree",
                    "Out-degree", "Weights", "Confusion matrix", "Where it comes from"):  # fmt: skip
        assert any(told.startswith(heading) for told in page.headings), heading
    assert "tulle train config.toml --report=false" in text
    digest = re.search(r"xxh128</th><td>([0-9a-f]{32})<", text)[1]
    if shutil.which("xxh128sum"):
        told = subprocess.run(["xxh128sum", trained / "model.safetensors"], capture_output=True, text=True).stdout
        assert told.split()[0] == digest


def test_the_figures_are_there_for_other_programs(trained, tulle):
    tulle("report", "out/run", check=True)
    page, text = page_of(trained / "report.html")
    (run,) = json.loads(page.scripts[0])["runs"]
    (seed,) = run["seeds"]
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["event"] == "epoch"]
    assert run["name"] == "run" and seed["epochs"]["epoch"] == [1, 2, 3, 4]
    for name in ("train_loss", "test_acc", "density", "seconds", "nnz"):
        assert seed["epochs"][name] == pytest.approx([line[name] for line in epochs], rel=1e-5), name
    (result,) = (line for line in lines if line["event"] == "result")
    assert [row["name"] for row in seed["result"]] == [row["name"] for row in result["rows"]]
    assert sum(map(sum, seed["confusion"])) == 60
    files = [(file["path"], file["bytes"]) for file in seed["start"]["files"]]
    assert files == [(name, (tulle.folder / name).stat().st_size) for name in ("train.csv", "test.csv")]
    assert text.count("<th>data file</th>") == 2


def test_training_writes_the_same_page(problem, tulle):
    tulle("train", "config.toml", check=True)
    folder = tulle.folder / "out" / "run"
    written = (folder / "report.html").read_text()
    page_of(folder / "report.html")
    tulle("report", "out/run", check=True)
    assert (folder / "report.html").read_text() == written


def test_runs_stand_beside_each_other(trained, tulle):
    tulle("train", "config.toml", "--name=other", "--rule=rigl", "--compare-dense=timing", check=True)
    tulle("report", "out/run/", "out/other", "-o", "both.html", check=True)
    page, text = page_of(tulle.folder / "both.html")
    assert "<h1>run and other</h1>" in text
    assert "Accuracy, test" in page.headings
    assert page.tags.count("details") == 2
    assert 'class="dense">dense ' in text


def test_seeds_become_their_mean(problem, tulle):
    tulle("train", "config.toml", "--seed=1..3", "--epochs=2", check=True)
    page, text = page_of(tulle.folder / "out" / "run" / "report.html")
    assert all(f"<th>seed {seed}</th>" in text for seed in (1, 2, 3))
    assert "3 seeds" in text and "\u00b1" in text
    assert re.search(r'class="band [^>]* d="M', text)
    assert (tulle.folder / "out" / "run" / "seed-2" / "report.html").is_file()


def test_pictures_are_shown_with_what_they_are_taken_for(tmp_path, tulle):
    random = np.random.default_rng(1)
    for name, rows in (("train", 60), ("test", 30)):
        labels = random.integers(0, 3, rows)
        pixels = random.integers(0, 100, (rows, 8, 8))
        pixels[np.arange(rows), labels, :] = 255
        (tmp_path / f"{name}.idx").write_bytes(idx_bytes(pixels))
        (tmp_path / f"{name}-labels.idx").write_bytes(idx_bytes(labels))
    data = ["--train=train.idx", "--train-labels=train-labels.idx", "--test=test.idx", "--test-labels=test-labels.idx"]
    tulle("train", *data, "--hidden=20", "--epochs=3", "--name=run", "--compare-dense=none", check=True)
    folder = tmp_path / "out" / "run"
    written = (folder / "report.html").read_text()
    page, text = page_of(folder / "report.html")
    assert text.count('class="sample') >= 12 and page.tags.count("img") <= 24
    assert "Connections of each pixel" in text
    (tmp_path / "test.idx").unlink()
    result = tulle("report", "out/run", check=True)
    assert "left out of the report" in result.err and "test.idx" in result.err
    assert 'class="sample' in written and 'class="sample' not in (folder / "report.html").read_text()


def synthetic_run(folder, epochs, seed):
    """Records as a training of that many epochs writes them."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    lines = [{"event": "start", "tulle": "0.1.0", "isa": "avx2", "threads": 2, "seed": seed, "nnz": 5000, "dense": 90000}]
    for epoch in range(1, epochs + 1):
        noise = random.normal(0, 0.01, 6)
        lines.append({"event": "epoch", "epoch": epoch, "step": 10 * epoch, "lr": 0.1 / epoch, "nnz": 5000 + epoch % 7,
                      "train_loss": 2 / epoch + noise[0], "test_loss": 2 / epoch + 0.1 + noise[1],
                      "valid_loss": 2 / epoch + 0.1 + noise[4], "valid_acc": 0.9 - 1 / epoch + noise[5],
                      "train_acc": 1 - 1 / epoch + noise[2], "test_acc": 0.9 - 1 / epoch + noise[3],
                      "layer_density": [0.01, 0.02 + 1e-5 * epoch, 1.0], "layer_nnz": [1, epoch, 3],
                      "exploration": epoch * 1e-4, "seconds": 1.0})  # fmt: skip
        for layer in range(3):
            grown = int(random.integers(100, 900))
            lines.append({"event": "evolve", "epoch": epoch, "step": 10 * epoch, "layer": layer, "dropped": grown,
                          "grown": grown, "explored": epoch * 1e-4, "no_inputs": int(random.integers(0, 4))})  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.toml").write_text("[run]\n" + "key = 1\n" * 150)


def test_a_thousand_epochs_of_ten_runs_stay_small(tmp_path, tulle):
    names = [f"run-{i}" for i in range(10)]
    for i, name in enumerate(names):
        synthetic_run(tmp_path / name, 1000, i)
    begin = time.monotonic()
    tulle("report", *names, "-o", "all.html", check=True)
    assert time.monotonic() - begin < 20
    page, text = page_of(tmp_path / "all.html")
    assert all(f"</i>{name}</th>" in text for name in names)
    synthetic_run(tmp_path / "long", 50_000, 1)
    tulle("report", "long", check=True)
    page_of(tmp_path / "long" / "report.html")


def test_hostile_names_become_text(tmp_path, tulle):
    name = "'\"><script>alert(1)<&"
    synthetic_run(tmp_path / name, 3, 1)
    with open(tmp_path / name / "metrics.jsonl", "a") as file:
        evil = "</script><script>alert(2)</script><img src=x>"
        rows = [{"name": evil, "sparse": 1, "sparse_text": evil, "factor": evil}]
        file.write(json.dumps({"event": "result", "rows": rows, "note": evil, "class_names": [evil] * 2,
                               "confusion": [1, 2, 3, 4]}) + "\n")  # fmt: skip
        file.write(json.dumps({"event": "start", "machine": evil, "command": evil, "tulle": evil}) + "\n")
    (tmp_path / name / "config.toml").write_text(evil)
    tulle("report", name, name, "-o", "evil.html", check=True)
    page, text = page_of(tmp_path / "evil.html")
    assert "img" not in page.tags and "alert(2)</script>" not in text
    assert page.headings[0] == f"{name} and {name}"


def test_what_is_no_run_is_refused(tmp_path, tulle, trained):
    (tmp_path / "empty").mkdir()
    assert_refused(tulle("report", "empty"), 66, "empty", "no records")
    assert_refused(tulle("report", "nowhere"), 66, "nowhere", "no such folder")
    assert_refused(tulle("report"), 2, "runs")
    assert_refused(tulle("report", "out/run", "-o", "nowhere/x.html"), 73, "nowhere")


def test_a_damaged_model_is_left_out_with_a_warning(trained, tulle):
    content = bytearray((trained / "model.safetensors").read_bytes())
    content[-100] ^= 1
    (trained / "model.safetensors").write_bytes(content)
    result = tulle("report", "out/run", check=True)
    assert result.err.startswith("tulle: warning: left out of the report: ")
    page, text = page_of(trained / "report.html")
    assert "Loss" in page.headings and "In-degree" not in text


def test_a_recovery_is_reported(tmp_path, tulle):
    tulle("recover", "--n=400", "--d=20", "--hidden-width=5", "--nnz=10", "--name=found", check=True)
    tulle("report", "out/found", check=True)
    page, text = page_of(tmp_path / "out/found/report.html")
    assert "What was found" in page.headings and "<title>PSNR by step" in text
    record = json.loads((tmp_path / "out/found/result.json").read_text())
    assert max(record["psnr_by_step"]) == pytest.approx(record["psnr"], abs=0.5)
    tulle("recover", "grid", "--n=400", "--d=20", "--widths=4,6", "--budgets=8,12", "--name=grid", check=True)
    tulle("report", "out/grid", "out/found", "-o", "both.html", check=True)
    _, text = page_of(tmp_path / "both.html")
    assert 'class="phase"' in text


class Live:
    """A training whose page is served."""

    def __init__(self, tulle, *arguments):
        self.process = tulle.start("train", "config.toml", "--serve=0", *arguments)
        line = self.process.stderr.readline()
        assert re.fullmatch(r"live    http://127\.0\.0\.1:\d+/\n", line), line
        self.port = int(re.search(r":(\d+)/", line)[1])

    def ask(self, path="/", method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer, text

    def end(self):
        self.process.terminate()
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


SLOW = ["--hidden=1500,1500", "--epsilon=60", "--save-every=never"]


@pytest.fixture
def live(problem, tulle):
    running = Live(tulle, *SLOW, "--epochs=100000")
    yield running
    if running.process.poll() is None:
        running.end()


def ended(port):
    try:
        http.client.HTTPConnection("127.0.0.1", port, timeout=5).request("GET", "/")
    except ConnectionRefusedError:
        return True
    return False


def test_a_training_shows_its_page_while_it_goes_on(live):
    deadline = time.monotonic() + 30
    while "not finished yet" not in (page := live.ask()[1]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    answer, _ = live.ask()
    assert answer.status == 200 and answer.headers["Content-Type"] == "text/html; charset=utf-8"
    Page(page)
    assert "connect-src 'self'" in page and "data-live" in page and "<title>Loss" in page
    first, later = set(), time.monotonic() + 3
    while time.monotonic() < later:
        first.add(live.ask()[1])
    assert 2 <= len(first) <= 5  # made anew, but not more than once a second
    answer, text = live.ask("/metrics.json")
    assert answer.headers["Content-Type"] == "application/json"
    (run,) = json.loads(text)
    assert run["run"] == "run" and run["records"][0]["event"] == "start"
    assert any(record["event"] == "epoch" for record in run["records"])
    code, errors = live.end()
    assert code == 143 and "stopped after epoch" in errors
    assert ended(live.port)


def test_everything_else_is_refused(live):
    for path in ("/config.toml", "/metrics.jsonl", "/../../etc/passwd", "//etc/passwd", "/%2e%2e/config.toml", "/x"):
        assert live.ask(path)[0].status == 404, path
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert live.ask(method=method)[0].status == 405, method
    assert live.ask(Host="evil.example")[0].status == 403
    assert live.ask(Host=f"localhost:{live.port}")[0].status == 200


def test_clients_that_never_finish_do_not_hold_the_training(problem, tulle):
    running = Live(tulle, *SLOW, "--epochs=60")
    slow = []
    while len(slow) < 40:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=5)
        try:
            connection.connect()
        except OSError:  # more than are waited upon, and by now the training may be over
            break
        connection.sock.sendall(b"GET / HTTP/1.1\r\nHost: ")
        slow.append(connection)
    assert len(slow) > 4
    assert running.process.wait(timeout=60) == 0
    assert ended(running.port)
    assert (tulle.folder / "out/run/model.safetensors").is_file()


def test_the_same_bits_are_learnt_with_a_page_and_without(problem, tulle):
    tulle("train", "config.toml", "--name=quiet", "--report=false", check=True)
    tulle("train", "config.toml", "--name=shown", "--report=false", "--serve=0", check=True)
    digests = [hashlib.sha256(re.sub(rb"quiet|shown", b"", (tulle.folder / "out" / name / "model.safetensors").read_bytes()))
               .hexdigest() for name in ("quiet", "shown")]  # fmt: skip
    assert digests[0] == digests[1]


def test_a_port_in_use_is_told_before_anything_starts(live, tulle):
    result = tulle("train", "config.toml", "--name=second", f"--serve={live.port}")
    assert_refused(result, 75, f"port {live.port} in use")
    assert not (tulle.folder / "out" / "second").exists()
    assert live.process.poll() is None
    assert_refused(tulle("train", "config.toml", "--serve=70000"), 2, "70000")


def test_a_finished_run_can_be_served_too(trained, tulle):
    process = subprocess.Popen(
        tulle.command("report", "out/run", "--serve=0"), cwd=tulle.folder, stdout=subprocess.PIPE, text=True
    )
    port = int(re.search(r":(\d+)/", process.stdout.readline())[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/")
    assert "Trained for 4 epochs" in connection.getresponse().read().decode()
    process.terminate()
    process.communicate(timeout=10)
