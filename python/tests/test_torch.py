"""tulle.torch beside PyTorch's own dense layer, which is the oracle wherever a mask can stand in for a pattern."""

import copy
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tulle.torch  # noqa: E402
from tulle.torch import SparseLinear, save_safetensors, sparse_linear  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def dense_twin(layer):
    """The same weights as a dense torch layer, and the mask of the pattern."""
    twin = torch.nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, dtype=layer.values.dtype)
    weight = layer.to_sparse_csr().detach()
    with torch.no_grad():
        twin.weight.copy_(weight.to_dense())
        if layer.bias is not None:
            twin.bias.copy_(layer.bias)
    ones = torch.sparse_csr_tensor(weight.crow_indices(), weight.col_indices(), torch.ones(layer.nnz), weight.shape)
    return twin, ones.to_dense() != 0


def on_pattern(layer, dense):
    rows = torch.arange(layer.out_features).repeat_interleave(layer.crow.diff())
    return dense[rows, layer.col.long()]


@pytest.mark.parametrize("shape", [(1, 60), (5, 60), (128, 60), (130, 60), (60,), (2, 3, 60), (0, 60)])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_a_masked_dense_layer(shape, bias):
    layer = SparseLinear(60, 70, density=0.1, bias=bias, seed=4)
    twin, _ = dense_twin(layer)
    x = torch.randn(shape, requires_grad=True)
    again = x.detach().clone().requires_grad_()
    weights = torch.randn(*shape[:-1], 70)
    (layer(x) * weights).sum().backward()
    (twin(again) * weights).sum().backward()
    torch.testing.assert_close(layer(x), twin(again), rtol=0, atol=1e-5)
    torch.testing.assert_close(x.grad, again.grad, rtol=0, atol=1e-5)
    torch.testing.assert_close(layer.values.grad, on_pattern(layer, twin.weight.grad), rtol=0, atol=1e-4)
    if bias:
        torch.testing.assert_close(layer.bias.grad, twin.bias.grad, rtol=0, atol=1e-4)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
def test_training_goes_as_that_of_a_masked_dense_layer(optimizer):
    options = {"lr": 0.01, "momentum": 0.9} if optimizer is torch.optim.SGD else {"lr": 0.001}
    layer = SparseLinear(40, 30, density=0.2, seed=2)
    twin, mask = dense_twin(layer)
    ours, theirs = optimizer(layer.parameters(), **options), optimizer(twin.parameters(), **options)
    for _ in range(20):
        x, target = torch.randn(16, 40), torch.randn(16, 30)
        for module, steps in ((layer, ours), (twin, theirs)):
            steps.zero_grad()
            torch.nn.functional.mse_loss(module(x), target).backward()
            if module is twin:
                twin.weight.grad.mul_(mask)
            steps.step()
    assert (layer.to_sparse_csr().to_dense() - twin.weight).abs().max() <= 1e-5
    assert (layer.bias - twin.bias).abs().max() <= 1e-5


def test_gradients_in_double_precision_are_those_of_finite_differences():
    layer = SparseLinear(9, 7, density=0.3, seed=5, dtype=torch.float64)
    x = torch.randn(4, 9, dtype=torch.float64, requires_grad=True)

    def product(x, values, bias):
        return sparse_linear(x, values, layer.crow, layer.col, bias)

    assert torch.autograd.gradcheck(product, (x, layer.values, layer.bias), eps=1e-6, atol=1e-5)
    twin, _ = dense_twin(layer)
    torch.testing.assert_close(layer(x), twin(x), rtol=1e-12, atol=1e-12)


def test_second_derivatives_are_refused():
    layer = SparseLinear(9, 7)
    x = torch.randn(4, 9, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_two_uses_in_one_graph_add_their_gradients():
    layer = SparseLinear(20, 20, density=0.2, seed=1)
    twin, _ = dense_twin(layer)
    x = torch.randn(6, 20)
    layer(torch.relu(layer(x))).sum().backward()
    twin(torch.relu(twin(x))).sum().backward()
    torch.testing.assert_close(layer.values.grad, on_pattern(layer, twin.weight.grad), rtol=0, atol=1e-4)


def test_layers_may_share_a_pattern_and_not_their_values():
    layer = SparseLinear(20, 20, density=0.2, seed=1)
    x = torch.randn(6, 20, requires_grad=True)
    doubled = (2 * layer.values).detach().requires_grad_()
    y = sparse_linear(x, layer.values, layer.crow, layer.col)
    sparse_linear(x, doubled, layer.crow, layer.col)
    (found,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(found, layer.to_sparse_csr().to_dense().sum(0).expand(6, 20), rtol=0, atol=1e-5)


def test_bfloat16_goes_in_and_comes_out_and_is_summed_in_float32():
    layer = SparseLinear(300, 20, density=0.5, seed=1)
    x = torch.randn(8, 300).to(torch.bfloat16).requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == torch.bfloat16 and layer.values.grad.dtype == torch.float32
    assert torch.equal(y, layer(x.float()).to(torch.bfloat16))
    narrow = copy.deepcopy(layer).to(torch.bfloat16)
    narrow(x).sum().backward()
    assert narrow.values.grad.dtype == torch.bfloat16


def test_strided_inputs_are_copied_and_counted():
    layer = SparseLinear(10, 6, density=0.5)
    x = torch.randn(10, 8).t()
    before = tulle.torch.copies
    y = layer(x.contiguous())
    assert tulle.torch.copies == before
    assert torch.equal(layer(x), y)
    assert tulle.torch.copies == before + 1
    y.sum().backward()  # whose gradient is one number, repeated
    assert tulle.torch.copies == before + 2


def test_outputs_without_connections_are_their_bias():
    weight = torch.sparse_csr_tensor([0, 0, 2, 2], [1, 3], [2.0, 3.0], (3, 5))
    layer = SparseLinear.from_csr(weight, torch.tensor([1.0, 2.0, 3.0]))
    x = torch.ones(2, 5, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.tolist() == [[1.0, 7.0, 3.0]] * 2
    assert x.grad.tolist() == [[0.0, 2.0, 0.0, 3.0, 0.0]] * 2


def test_bits_do_not_depend_on_threads():
    layer = SparseLinear(500, 400, density=0.05, seed=1)
    x, g = torch.randn(100, 500), torch.randn(100, 400)

    def step(threads):
        torch.set_num_threads(threads)
        given = x.clone().requires_grad_()
        layer.zero_grad()
        y = layer(given)
        y.backward(g)
        return y.detach(), given.grad, layer.values.grad.clone(), layer.bias.grad.clone()

    for one, two in zip(step(1), step(2)):
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    "x, kind, words",
    [
        (torch.zeros(2, 9), ValueError, "x, found shape (2, 9), expected [..., 10]"),
        (torch.zeros(()), ValueError, "x, found shape ()"),
        (torch.zeros(2, 10, dtype=torch.float16), TypeError, "x, found dtype torch.float16, expected torch.float32 or"),
        (torch.zeros(2, 10, dtype=torch.float64), TypeError, "beside values of torch.float32"),
        (torch.zeros(2, 10, dtype=torch.int64), TypeError, "x, found dtype torch.int64"),
        (torch.zeros(2, 10).to_sparse(), TypeError, "x, found layout torch.sparse_coo, expected a dense tensor"),
        (torch.zeros(2, 10, device="meta"), TypeError, "x, found device meta, expected cpu"),
        (np.zeros((2, 10), np.float32), TypeError, "x, found ndarray, expected a torch tensor"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_one_line(x, kind, words):
    with pytest.raises(kind) as refused:
        SparseLinear(10, 4)(x)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_patterns_that_are_none_are_refused():
    x, values = torch.zeros(1, 4), torch.zeros(2)
    col = torch.tensor([2, 1], dtype=torch.int32)
    with pytest.raises(ValueError, match="strictly increasing"):
        sparse_linear(x, values, torch.tensor([0, 2]), col)
    with pytest.raises(TypeError, match="col, found dtype torch.int64, expected torch.int32"):
        sparse_linear(x, values, torch.tensor([0, 2]), col.long())
    with pytest.raises(ValueError, match="values, length, found 2, expected 1"):
        sparse_linear(x, values, torch.tensor([0, 1]), col[:1])
    with pytest.raises(TypeError, match="dtype, found torch.float16"):
        SparseLinear(4, 4, dtype=torch.float16)


def test_a_pattern_that_is_written_to_is_packed_anew():
    layer = SparseLinear(6, 3, density=0.5, seed=1)
    x = torch.randn(2, 6)
    layer(x)
    other = SparseLinear(6, 3, density=0.5, seed=2)
    layer.load_state_dict(other.state_dict())
    assert torch.equal(layer(x), other(x))


def test_a_state_dict_brings_its_own_number_of_connections():
    layer, other = SparseLinear(30, 20, density=0.5, seed=1), SparseLinear(30, 20, density=0.1, seed=2)
    held = layer.values
    layer.load_state_dict(other.state_dict())
    x = torch.randn(3, 30)
    assert layer.values is held and layer.nnz == 60
    assert torch.equal(layer(x), other(x))
    broken = {**other.state_dict(), "col": torch.full((60,), 31, dtype=torch.int32)}
    with pytest.raises(RuntimeError, match="strictly increasing and below 30"):
        layer.load_state_dict(broken)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_compute_the_same_and_share_nothing(again):
    layer = SparseLinear(30, 20, seed=1, keep_gradients=True)
    x = torch.randn(3, 30)
    layer(x).sum().backward()
    other = again(layer)
    assert torch.equal(other(x), layer(x))
    with torch.no_grad():
        other.values.zero_()
    assert layer.values.abs().sum() > 0


def test_double_precision_is_a_conversion_away():
    layer = SparseLinear(30, 20, seed=1)
    x = torch.randn(3, 30)
    expected = layer(x)
    y = layer.to(torch.float64)(x.double())
    assert layer.crow.dtype == torch.int64 and layer.col.dtype == torch.int32 and y.dtype == torch.float64
    torch.testing.assert_close(y.float(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"epsilon": 3}, {"distribution": "fixed-fan-in"}, {"distribution": "erk"}])
def test_start_values_follow_the_true_number_of_inputs(options):
    layer = SparseLinear(200, 50, density=0.1, seed=1, **options)
    fan_in = layer.crow.diff().clamp(min=1)
    scaled = layer.values.detach() * fan_in.repeat_interleave(layer.crow.diff()).sqrt()
    assert layer.nnz == (750 if "epsilon" in options else 1000)
    assert 0.95 < scaled.abs().max() <= 1.0 + 1e-6 and scaled.std() == pytest.approx(3**-0.5, abs=0.05)
    assert (layer.bias.abs() <= fan_in.rsqrt() + 1e-6).all()
    same = SparseLinear(200, 50, density=0.1, seed=1, **options)
    assert torch.equal(layer.values, same.values) and torch.equal(layer.col, same.col)


def cells(layer):
    rows = torch.arange(layer.out_features).repeat_interleave(layer.crow.diff())
    return (rows * layer.in_features + layer.col).tolist()


@pytest.mark.parametrize("rule", ["set", "set-published", "rigl", "gse", "mest", "granet"])
def test_evolution_keeps_the_number_and_moves_what_belongs_to_connections(rule):
    layer = SparseLinear(50, 40, density=0.1, seed=3, keep_gradients=True)
    adam = torch.optim.Adam(layer.parameters())
    for _ in range(3):
        adam.zero_grad()
        layer(torch.randn(16, 50)).square().mean().backward()
        adam.step()
    state = adam.state[layer.values]
    names = ("exp_avg", "exp_avg_sq")
    before = {
        cell: [layer.values[k].item(), layer.values.grad[k].item(), *(state[n][k].item() for n in names)]
        for k, cell in enumerate(cells(layer))
    }
    replaced = layer.evolve(rule, adam, zeta=0.3)
    after = cells(layer)
    assert len(after) == len(set(after)) == 200 == layer.nnz and 50 <= replaced <= 63
    assert sum(cell not in before for cell in after) <= replaced
    grown = 0
    for k, cell in enumerate(after):
        moved = [layer.values.grad[k].item(), *(state[n][k].item() for n in names)]
        if moved == [0.0, 0.0, 0.0]:
            grown += 1
            assert (layer.values[k] != 0) == rule.startswith("set")
        else:
            assert [layer.values[k].item(), *moved] == before[cell]
    assert grown == replaced and state["step"] == 3
    twin, _ = dense_twin(layer)
    x = torch.randn(5, 50)
    torch.testing.assert_close(layer(x), twin(x), rtol=0, atol=1e-5)
    adam.step()


def test_rigl_grows_where_the_gradient_is_largest():
    layer = SparseLinear(30, 20, density=0.1, seed=3, keep_gradients=True)
    twin, mask = dense_twin(layer)
    x, g = torch.randn(40, 30), torch.randn(40, 20)
    layer(x).backward(g)
    with torch.no_grad():
        layer(torch.randn(3, 30))
    twin(x).backward(g)
    free = twin.weight.grad.abs().masked_fill(mask, 0).flatten()
    expected = set(free.topk(18).indices.tolist())
    before = set(cells(layer))
    assert layer.evolve("rigl", zeta=0.3) == 18
    assert set(cells(layer)) - before == expected
    assert (layer.values == 0).sum() == 18


def test_evolution_that_cannot_be_is_refused_and_changes_nothing():
    layer = SparseLinear(10, 8, density=0.9, seed=1)
    before = copy.deepcopy(layer.state_dict())
    for words, call in [
        ("which looks at the last batch, and none was kept", lambda: layer.evolve("rigl", zeta=0.01)),
        ("free cells", lambda: layer.evolve("set", zeta=0.5)),
        ("'sett'", lambda: layer.evolve("sett")),
        ("zeta, found", lambda: layer.evolve(zeta=1.0)),
        ("without this layer's values", lambda: layer.evolve(optimizer=torch.optim.SGD([torch.zeros(1)]))),
    ]:
        with pytest.raises(ValueError) as refused:
            call()
        assert words in str(refused.value)
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


def test_dense_layers_become_sparse_ones():
    linear = torch.nn.Linear(40, 30)
    layer = SparseLinear.from_dense(linear, "magnitude:0.95")
    kept = layer.to_sparse_csr().to_dense()
    assert layer.nnz == 60 and torch.equal(layer.bias, linear.bias)
    assert torch.equal(kept[kept != 0], linear.weight[kept != 0])
    assert linear.weight[kept == 0].abs().max() <= kept[kept != 0].abs().min()
    double = torch.nn.Linear(4, 3, bias=False, dtype=torch.float64)
    torch.nn.init.zeros_(double.weight)
    double.weight.data[1, 2] = 0.1
    layer = SparseLinear.from_dense(double, "nonzero")
    assert layer.values.tolist() == [0.1] and layer.bias is None


def test_the_representation_tells_what_is_stored():
    assert repr(SparseLinear(100, 50, density=0.1)) == (
        "SparseLinear(in_features=100, out_features=50, nnz=500 (10.00 %), bias=True)"
    )


def test_a_large_layer_takes_memory_for_its_connections_alone():
    # Dense, its weight alone would take 1600 MB.
    program = textwrap.dedent("""
        import resource, torch
        from tulle.torch import SparseLinear
        def step(n, density):
            layer = SparseLinear(n, n, density=density, seed=1)
            adam = torch.optim.Adam(layer.parameters())
            x = torch.randn(32, n, requires_grad=True)
            layer(x).square().mean().backward()
            adam.step()
            layer.evolve("set", adam)
            layer(x)
        step(100, 0.1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        step(20_000, 0.001)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
        """)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 100


def test_model_files_open_in_safetensors_and_compute_the_same(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    from tulle import _core

    net = torch.nn.Sequential(
        SparseLinear(30, 20, density=0.2, seed=1),
        torch.nn.LeakyReLU(0.2),
        torch.nn.Dropout(0.5),
        SparseLinear(20, 15, density=0.3, bias=False, seed=2),
        torch.nn.LeakyReLU(0.2),
        torch.nn.Linear(15, 4),
    ).eval()
    path = tmp_path / "net.safetensors"
    assert save_safetensors(net, path) == path.stat().st_size
    tensors = safetensors.load_file(path)
    assert torch.equal(tensors["layers.0.weight.crow"], net[0].crow)
    assert torch.equal(tensors["layers.0.weight.col"], net[0].col)
    assert torch.equal(tensors["layers.0.weight.val"], net[0].values.detach())
    assert torch.equal(tensors["layers.2.weight"], net[5].weight.detach())
    x = torch.randn(9, 30)
    found = _core.Runner(_core.load_model(str(path))).predict(x.numpy())
    torch.testing.assert_close(torch.from_numpy(found.copy()), net(x).softmax(-1).detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "parts, words",
    [
        ([], "no SparseLinear"),
        ([torch.nn.ReLU(), SparseLinear(4, 3)], "found ReLU"),
        ([SparseLinear(4, 3), torch.nn.ReLU()], "none at the end"),
        ([SparseLinear(4, 3), torch.nn.ReLU(), torch.nn.Tanh(), SparseLinear(3, 2)], "found Tanh"),
        (
            [SparseLinear(4, 3), torch.nn.ReLU(), SparseLinear(3, 3), torch.nn.Tanh(), SparseLinear(3, 2)],
            "one activation",
        ),
        ([SparseLinear(4, 3), torch.nn.BatchNorm1d(3), SparseLinear(3, 2)], "found BatchNorm1d"),
    ],
)
def test_networks_that_model_files_do_not_know_are_refused(parts, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        save_safetensors(torch.nn.Sequential(*parts), tmp_path / "net.safetensors")
    assert not (tmp_path / "net.safetensors").exists()
