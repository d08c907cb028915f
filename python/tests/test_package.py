"""The package as a whole: what importing it costs and needs, and that it says what it is."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import BINARY

import tulle


def run(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_takes_numpy_alone():
    loaded = run("import tulle, sys; print([m for m in ('scipy', 'sklearn', 'torch', 'pandas') if m in sys.modules])")
    assert loaded.strip() == "[]"


def test_every_name_that_is_announced_is_there():
    pytest.importorskip("sklearn")
    for name in tulle.__all__:
        assert getattr(tulle, name) is not None
    with pytest.raises(AttributeError):
        tulle.nothing


def test_versions_agree():
    assert tulle.__version__ == (BINARY.parents[2] / "VERSION").read_text().strip()
    assert tulle.show_config()["version"] == tulle.__version__
    assert tulle.show_config()["instruction_set"] in tulle.cpu_info()["instruction_sets"]


def test_estimators_without_scikit_learn_say_what_to_install():
    text = run(
        "import sys; sys.modules['sklearn'] = None\n"
        "import tulle\n"
        "try: tulle.SparseMLPClassifier\n"
        "except ImportError as error: print(error)"
    )
    assert "pip install tulle[sklearn]" in text


def test_converting_without_torch_is_refused_in_one_line():
    program = (
        "import runpy, sys; sys.modules['torch'] = None; sys.argv = ['convert', 'a.pth', 'b.safetensors']\n"
        "runpy.run_module('tulle.convert', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "needs torch" in done.stderr


def test_a_file_that_is_no_checkpoint_is_refused_in_one_line():
    program = (  # torch as it answers to other content
        "import pickle, runpy, sys, types\n"
        "def load(*words, **options): raise pickle.UnpicklingError('Weights only load failed.\\nAnd much more')\n"
        "for name in ('torch', 'safetensors', 'safetensors.torch'): sys.modules[name] = types.ModuleType(name)\n"
        "sys.modules['torch'].load, sys.modules['safetensors.torch'].save_file = load, None\n"
        "sys.argv = ['convert', 'a.pth', 'b.safetensors']\n"
        "runpy.run_module('tulle.convert', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("tulle.convert: a.pth: checkpoint, found other content")
    assert done.stderr.count("\n") == 1


def test_readers_are_functions(tmp_path):
    (tmp_path / "a.csv").write_text("1,2,x\n3,4,y\n")
    X, y = tulle.data.csv(tmp_path / "a.csv")
    assert X.tolist() == [[1, 2], [3, 4]] and list(y) == ["x", "y"]
    (tmp_path / "a.svm").write_text("1 1:2.5 3:1\n-1 2:1\n")
    X, y = tulle.data.read(tmp_path / "a.svm", "libsvm")
    assert X.shape == (2, 3) and X.toarray().tolist() == [[2.5, 0, 1], [0, 1, 0]] and y.tolist() == [1, -1]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        tulle.data.read(tmp_path / "nowhere.csv")
    with pytest.raises(tulle.errors.DataError, match="a.csv"):
        tulle.data.idx(tmp_path / "a.csv")
    assert isinstance(X.data, np.ndarray)
