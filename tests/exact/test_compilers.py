"""What was compiled, fused or recorded earlier does not run inside exact(), and says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from validator.exact import ExactError, exact

X = torch.linspace(0.1, 1.0, 16).view(4, 4)
Compile = Callable[[Callable[..., Tensor]], Callable[..., Tensor]]


@pytest.fixture
def ran() -> list[str]:
    """One entry for each run of a compiled graph."""
    return []


@pytest.fixture
def compiled(ran: list[str]) -> Iterator[Compile]:
    """torch.compile with a backend that writes down its runs, and returns zeros."""

    def backend(graph: torch.fx.GraphModule, inputs: object) -> Callable[..., list[Tensor]]:
        def run(*args: Tensor) -> list[Tensor]:
            ran.append("graph")
            return [result * 0 for result in graph(*args)]

        return run

    torch._dynamo.reset()
    yield lambda function: torch.compile(function, backend=backend)
    torch._dynamo.reset()


def squares(x: Tensor) -> Tensor:
    return (x @ x).exp()


def powers(n: int) -> Tensor:
    """No tensor comes in: nothing in the compiler's guards notices a mode, and cached code runs."""
    return torch.zeros(3).add(n).exp()


def test_compile__function__refused_by_name_and_not_run(compiled: Compile, ran: list[str]) -> None:
    function = compiled(squares)
    with exact(), pytest.raises(ExactError, match=r"torch\.compile'd squares"):
        function(X)
    assert ran == []


@pytest.mark.parametrize(("function", "argument"), [(squares, X), (powers, 2)], ids=["tensor", "number"])
def test_compile__function_that_ran_before__refused_and_its_cache_not_run(
    compiled: Compile, ran: list[str], function: Callable[..., Tensor], argument: object
) -> None:
    fast = compiled(function)
    fast(argument)
    assert ran == ["graph"]
    with exact(), pytest.raises(ExactError, match=f"torch.compile'd {function.__name__}"):
        fast(argument)
    assert ran == ["graph"]


def test_compile__after_a_refusal__exact_goes_on_and_compiled_code_runs_outside(
    compiled: Compile, ran: list[str]
) -> None:
    fast = compiled(powers)
    fast(2)
    with exact():
        with pytest.raises(ExactError):
            fast(2)
        assert torch.equal(X + X, X * 2)
    fast(2)
    assert ran == ["graph", "graph"]


def test_compile__module__refused_by_class_and_place(compiled: Compile) -> None:
    module = torch.compile(nn.Sequential(nn.Linear(4, 4)), backend="eager")
    module(X)
    with exact(), pytest.raises(ExactError, match=r"torch\.compile'd Sequential .*\(Linear\)\]"):
        module(X)


def test_compile__part_of_a_module_in_place__refused_by_class_and_place(compiled: Compile) -> None:
    module = nn.Sequential(nn.ReLU(), nn.Linear(4, 4))
    module[1].compile(backend="eager")
    module(X)
    with exact(), pytest.raises(ExactError, match=r"torch\.compile'd Linear .*\[in 1 \(Linear\)\]"):
        module(X)


def test_compile__graph_made_outside__its_backward_is_refused() -> None:
    x = X.clone().requires_grad_()
    loss = torch.compile(lambda t: (t * 2).exp().sum(), backend="aot_eager")(x)
    with exact(), pytest.raises(ExactError, match=r"graph of torch\.compile.*\[in the backward of CompiledFunction"):
        loss.backward()
    assert x.grad is None


def test_compile__other_thread_outside__not_disturbed(compiled: Compile, ran: list[str]) -> None:
    fast = compiled(powers)
    fast(2)
    with exact(), ThreadPoolExecutor(1) as pool:
        assert torch.equal(pool.submit(fast, 2).result(), torch.zeros(3))
    assert ran == ["graph", "graph"]


@pytest.mark.filterwarnings("ignore:Dynamo detected a call")
def test_exact__entered_in_a_compiled_function__refused(compiled: Compile) -> None:
    def inside(x: Tensor) -> Tensor:
        doubled = x * 2
        with exact():
            return doubled @ x

    with pytest.raises(ExactError, match=r"inside torch\.compile"):
        compiled(inside)(X)
    assert inside(X).shape == (4, 4)


def test_exact__entered_while_tracing__refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with pytest.raises(ExactError, match=r"inside torch\.compile"), exact():
        raise AssertionError("entered")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript__function_fused_earlier__refused() -> None:
    script = torch.jit.script(squares)
    with exact(), pytest.raises(ExactError, match="TorchScript"):
        script(X)
    assert script(X).shape == (4, 4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("make", [torch.jit.script, lambda m: torch.jit.trace(m, X)], ids=["script", "trace"])
def test_torchscript__module_inside_another__refused_with_its_place(make: Callable[[nn.Module], nn.Module]) -> None:
    model = nn.Sequential(nn.ReLU(), make(nn.Linear(4, 4)))
    with exact(), pytest.raises(ExactError, match=r"TorchScript .*\[in 1 \("):
        model(X)


def test_cuda_graph__replayed__refused() -> None:
    with exact(), pytest.raises(ExactError, match="CUDA graph"):
        torch.cuda.CUDAGraph.replay(None)


def test_inductor_package__run__refused() -> None:
    loader = torch._C._aoti.AOTIModelPackageLoader
    with exact(), pytest.raises(ExactError, match="AOTInductor"):
        loader.run(None, [X])


def test_optimizers__of_torch__are_not_taken_for_compiled_code() -> None:
    weight = nn.Parameter(X.clone())
    with exact():
        weight.square().sum().backward()
        torch.optim.SGD([weight], lr=0.1).step()
    assert not torch.equal(weight, X)
