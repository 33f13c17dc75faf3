#!/usr/bin/env python3
"""Tests of scripts/bench_peers.py on small networks and times made up here: python tests/peers_test.py"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import stat
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

try:
    import torch
except ImportError:
    print("skipped: this Python has no PyTorch")
    sys.exit(77)

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

# isort: split
import numpy as np
from torch.nn import functional

import bench_peers
from run_folders import PROGRAM
from sgdscope.errors import Error, MissingPeer
from sgdscope.peers import (
    coherent_gradients,
    generalization_gap,
    hessian,
    implicit_regularization,
    inherent_noise,
    interventions,
    noise_enhancement,
    plain,
    stability,
)
from sgdscope.peers.data import Dataset
from sgdscope.peers.image_networks import GREY, NETWORKS, module_of
from sgdscope.peers.implicit_regularization import LAMBDA, ImageStep, PenaltyStep
from sgdscope.peers.jax_networks import JaxNetwork
from sgdscope.peers.jax_peer import JaxStep, as_jax, load_jax
from sgdscope.peers.per_example import Opacus, OpacusGhostNorms, OuterProducts, TorchFunc, WholeOuterProducts
from sgdscope.peers.pytorch import PlainStep, network
from sgdscope.peers.report import as_json
from sgdscope.peers.sgdscope_bench import SgdscopeBench
from sgdscope.peers.timing import JAX, PROCESSOR, PYTORCH, SGDSCOPE, Candidate, Measured, Turns, measure_rounds, ratio
from sgdscope.peers.winsorize import (
    REDUCTIONS,
    by_topk,
    ranks,
    reference_gradients,
    reference_norms,
    reference_trace,
    reference_winsorized,
    relative_difference,
    rounding_bound,
)

ALL_WAYS = (OuterProducts, WholeOuterProducts, TorchFunc, Opacus)
torch.set_num_threads(1)  # on a busy machine waiting for a second one costs more than it brings
EPSILON = float(np.finfo(np.float64).eps)


def missing(name: str) -> bool:
    return importlib.util.find_spec(name) is None


def small_data() -> Dataset:
    random = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (300, 784), dtype=torch.uint8, generator=random)
    return Dataset(images, torch.randint(0, 10, (300,), generator=random), "small")


class Winsorizing(unittest.TestCase):
    def test_the_reference_on_values_worked_out_by_hand(self) -> None:
        # Ranks 1 and 3 of 5: 0 goes up to 1, 100 down to 3. Ranks 0 and 4 are the mean, rank 2 twice the median.
        values = np.array([[100.0], [1.0], [2.0], [0.0], [3.0]])
        for percentile, expected in ((25, (3 + 1 + 2 + 1 + 3) / 5), (0, 106 / 5), (50, 2.0)):
            self.assertAlmostEqual(reference_winsorized(values, percentile)[0], expected, places=14)
        self.assertEqual(ranks(100, 2), (2, 97))
        self.assertEqual(ranks(100, 50), (50, 50))

    def test_every_reduction_equals_the_reference(self) -> None:
        random = np.random.default_rng(5)
        for n in (1, 7, 100, 128):
            for percentile in (0, 1, 2, 4, 8, 25, 40):
                values = random.normal(size=(n, 23)) * (random.random((n, 23)) < 0.5)  # ties among the zeros
                expected = reference_winsorized(values, percentile)
                for name, reduce in REDUCTIONS.items():
                    with self.subTest(name=name, n=n, percentile=percentile):
                        found = reduce(torch.tensor(values).t().contiguous(), percentile).numpy()
                        # Two sums of n terms, each rounded n times.
                        bound = 2 * n * EPSILON * np.abs(values).max()
                        self.assertLessEqual(np.abs(found - expected).max(), bound)


class Gradients(unittest.TestCase):
    def setUp(self) -> None:
        torch.manual_seed(7)
        self.widths, self.n = (6, 5, 4, 3), 9
        self.inputs, self.labels = torch.randn(self.n, 6), torch.randint(0, 3, (self.n,))
        self.expected = reference_gradients(self.model(), self.inputs, self.labels)
        self.bound = rounding_bound(self.widths, self.n)

    def model(self) -> torch.nn.Sequential:
        torch.manual_seed(11)
        return network(self.widths)

    def test_the_reference_equals_differences_of_the_loss(self) -> None:
        model = self.model().double()
        weights = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
        step = 1e-5
        for weight in (0, 17, 34, len(weights) - 1):
            losses = []
            for sign in (1, -1):
                moved = weights.clone()
                moved[weight] += sign * step
                torch.nn.utils.vector_to_parameters(moved, model.parameters())
                losses.append(functional.cross_entropy(model(self.inputs.double()), self.labels, reduction="none"))
            found = ((losses[0] - losses[1]) / (2 * step)).detach().numpy()
            # Central differences: the loss' rounding over the step, and the step's square.
            np.testing.assert_allclose(self.expected[:, weight], found, atol=10 * EPSILON / step + 10 * step**2)

    def test_every_way_equals_the_reference(self) -> None:
        for way in ALL_WAYS:
            if way is Opacus and missing("opacus"):
                continue
            with self.subTest(way=way.name), mock.patch("sgdscope.peers.per_example.CPU_BLOCK", 4 * self.n):
                made = way(self.model())
                gradients = torch.cat([part.flatten(1) for part in made.gradients(self.inputs, self.labels)], dim=1)
                self.assertLessEqual(relative_difference(gradients, self.expected), self.bound)
                blocks = list(made.blocks(self.inputs, self.labels))
                self.assertLessEqual(relative_difference(torch.cat(blocks), self.expected.T), self.bound)
                self.assertGreater(len(blocks), 5)
                self.check_moments(made)

    @unittest.skipIf(missing("opacus"), "no Opacus here")
    def test_opacus_ghost_norms_equal_the_reference(self) -> None:
        made = OpacusGhostNorms(self.model())
        self.check_moments(made)
        self.check_moments(made)  # nothing of the first batch is left

    def check_moments(self, way: OuterProducts) -> None:
        squares, means = way.moments(self.inputs, self.labels)
        mean = torch.cat([part.flatten() for part in means])
        self.assertLessEqual(relative_difference(squares, (self.expected**2).sum(1)), 2 * self.bound)
        self.assertLessEqual(relative_difference(mean, self.expected.mean(0)), self.bound)

    @unittest.skipIf(missing("jax"), "no JAX here")
    def test_jax_equals_the_reference(self) -> None:
        torch.manual_seed(13)
        data, jax = small_data().as_float(), load_jax("cpu", 1)
        model, indices = network((784, 5, 10)), torch.arange(100)
        gradients = reference_gradients(model, data.images[:100], data.labels[:100])
        bound = rounding_bound((784, 5, 10), 100)
        for kind, expected in (
            ("winsorized", reference_winsorized(gradients, 2)),
            ("norms", reference_norms(gradients)),
            ("trace", reference_trace(gradients)),
        ):
            step = JaxStep(jax, model, (as_jax(jax, data.images), as_jax(jax, data.labels)), kind, 2)
            self.assertLessEqual(relative_difference(step.value(indices), expected), bound)
            step()
            step.finish()


class Measuring(unittest.TestCase):
    """The whole of coherent_gradients on a small network, next to a program that pretends to be sgdscope_bench."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)
        self.turns = Turns(rounds=2, seconds=1e-4)

    def program(self, microseconds: dict[str, float], device: str = "cpu") -> str:
        """Prints these times, twice as many of the processor, and where its images are."""
        entries = [
            {"name": f"{name}/real_time", "real_time": 1e3 * time, "cpu_time": 2e3 * time, "time_unit": "ns"}
            for name, time in microseconds.items()
        ]
        path = self.root / "bench"
        path.write_text(
            f"#!{sys.executable}\nimport json, os\n"
            f"context = {{'device': {device!r}, 'images': os.environ.get('SGDSCOPE_BENCH_MNIST')}}\n"
            f"print(json.dumps({{'context': context, 'benchmarks': {entries!r}}}))\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    def measure(self, ours: SgdscopeBench | None = None, **patches: object) -> Measured:
        def no_jax(*_: object) -> None:
            raise MissingPeer("JAX", "not installed", "jax")

        with contextlib.ExitStack() as stack:
            for name, value in {"HIDDEN": (6,), "load_jax": no_jax, **patches}.items():
                stack.enter_context(mock.patch.object(coherent_gradients, name, value))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            return coherent_gradients.measure(small_data(), ours, self.turns, 1)

    def test_peers_take_turns_and_those_missing_are_named(self) -> None:
        program = self.program({"PlainStep3x256": 10, "WinsorizedStep3x256/2": 25, "WinsorizedStep3x256/25": 125})
        with mock.patch.dict(sys.modules, {"opacus": None}):
            measured = self.measure(SgdscopeBench(program, "cpu", 1, None, self.turns))
        winsorized = measured.of(PYTORCH, "winsorized_2")
        self.assertIn("outer products, topk", winsorized)
        self.assertIn("torch.func, quantile", winsorized)
        self.assertEqual({len(times) for times in winsorized.values()}, {2})
        self.assertEqual(measured.of(SGDSCOPE, "winsorized_25"), {"": [125.0, 125.0]})
        text = coherent_gradients.report([measured])
        self.assertEqual(text.count("not measured: Opacus: not installed; to have it measured:"), 1)
        self.assertEqual(text.count("-m pip install jax"), 1)
        self.assertIn("not measured: CovarianceStep3x256/0, which", text)
        self.assertNotIn("not measured: WinsorizedStep3x256/25", text)

    def test_a_peer_that_computes_something_else_does_not_count(self) -> None:
        wrong = {"topk": by_topk, "wrong": lambda values, percentile: by_topk(values, percentile + 1)}
        measured = self.measure(REDUCTIONS=wrong, WAYS=(OuterProducts,))
        winsorized = measured.of(PYTORCH, "winsorized_2")
        self.assertIn("outer products, topk", winsorized)
        self.assertNotIn("outer products, wrong", winsorized)
        self.assertIn("not counted: winsorized, c = 2 by PyTorch, outer products, wrong", "".join(measured.remarks))

    def test_steps_descend_along_what_was_measured(self) -> None:
        with mock.patch.object(coherent_gradients, "HIDDEN", (6,)):
            data = small_data().as_float()
            for make, *arguments in (
                (coherent_gradients.WinsorizedStep, OuterProducts, lambda values, _: values.mean(1)),
                (coherent_gradients.NormsStep, OuterProducts),
                (coherent_gradients.TraceStep, TorchFunc),
            ):
                step = coherent_gradients.from_seed(make, data, *arguments)
                plain = coherent_gradients.from_seed(PlainStep, (6,), data)
                for one in (step, plain):
                    torch.manual_seed(2)
                    one()
                found, expected = (torch.nn.utils.parameters_to_vector(s.model.parameters()) for s in (step, plain))
                bound = rounding_bound((784, 6, 10), 100)
                self.assertLessEqual(relative_difference(found, expected.detach().double().numpy()), bound)

    def test_sgdscope_bench_is_told_the_folder_and_asked_for_the_clock(self) -> None:
        program, kinds = self.program({"PlainStep/64": 10, "Other/64": 1}), {"PlainStep/64": "plain"}
        for data, clock, images, expected in ((None, "wall", None, 10), (str(self.root), "cpu", str(self.root), 20)):
            with mock.patch.dict("os.environ", {"SGDSCOPE_BENCH_MNIST": "elsewhere"}):
                ours = SgdscopeBench(program, "cpu", 1, data, Turns(1, 0.1, clock))
            self.assertEqual(ours.measure(kinds), {"plain": expected})
            self.assertEqual(ours.context["images"], images)

    def test_benchmarks_of_both_clocks_and_with_names_in_their_names(self) -> None:
        program = self.program({"Image/C1/16/process_time": 10, "Image/C1/160/process_time": 1, "Image/C10/16": 1})
        ours = SgdscopeBench(program, "cpu", 1, None, Turns(1, 0.1, "both"))
        self.assertEqual(ours.measure({"Image/C1/16": "plain"}), {"plain": 10, "plain" + PROCESSOR: 20})

    def test_sgdscope_bench_without_what_is_needed_is_refused(self) -> None:
        program = self.program({"WinsorizedStep3x256/2": 25})
        with self.assertRaisesRegex(Error, "reported no PlainStep3x256"):
            SgdscopeBench(program, "cpu", 1, None, self.turns).measure({"PlainStep3x256": "plain"})
        program = self.program({"PlainStep3x256": 25}, device="cuda")
        with self.assertRaisesRegex(Error, "measured on cuda"):
            SgdscopeBench(program, "cpu", 1, None, self.turns).measure({"PlainStep3x256": "plain"})


class Images(unittest.TestCase):
    @unittest.skipUnless(Path(PROGRAM).is_file(), "no sgdscope here")
    def test_the_networks_are_those_of_sgdscope(self) -> None:
        """Layers and parameters, by what it says of its model and of our list of layers."""
        for name, images in NETWORKS.items():
            said = [
                self.described(model, images.shape)
                for model in (images.model, {"name": "layers", "layers": images.layers()})
            ]
            with self.subTest(name=name):
                self.assertEqual(said[0], said[1])
                self.assertEqual(said[0][1], sum(part.numel() for part in images().parameters()))

    def described(self, model: dict[str, object], shape: tuple[int, ...]) -> tuple[str, int]:
        """The program's list of layers, and number of parameters."""
        config = {
            "name": "x",
            "steps": 1,
            "batch_size": 100,
            "model": model,
            "update": {"name": "sgd", "learning_rate": 1},
        }
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({**config, "data": {"name": "mnist" if shape == GREY else "cifar10"}}, file)
            file.flush()
            done = subprocess.run([PROGRAM, "describe", file.name], capture_output=True, text=True, check=True)
        layers, parameters = done.stdout.split("parameters (")
        return layers, int(parameters.split(" in all")[0].split()[-1])

    def test_ghost_batches_are_normalized_one_by_one(self) -> None:
        torch.manual_seed(1)
        norm = module_of([{"name": "batch_norm", "ghost_batch_size": 3}], (2, 4, 4))
        images = torch.randn(6, 2, 4, 4).double() + torch.arange(6).view(-1, 1, 1, 1)
        found = norm.double()(images)
        for part, expected in zip(found.split(3), images.split(3)):
            expected = expected - expected.mean((0, 2, 3), keepdim=True)
            deviation = expected.square().mean((0, 2, 3), keepdim=True).add(1e-5).sqrt()
            torch.testing.assert_close(part, expected / deviation)

    def test_the_penalty_is_the_gradient_of_the_squared_norm(self) -> None:
        torch.manual_seed(1)
        model = NETWORKS["WideResNet"]().double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
        step = PenaltyStep(model, torch.device("cpu"), torch.contiguous_format)
        images, labels = torch.randn(4, 3, 32, 32).double(), torch.arange(4)
        start = torch.nn.utils.parameters_to_vector(step.parameters).detach()
        along = torch.randn_like(start)
        along /= along.norm()

        def loss_at(move: float) -> torch.Tensor:
            torch.nn.utils.vector_to_parameters(start + move * along, step.parameters)
            return functional.cross_entropy(step.model(images), labels)

        def modified(move: float) -> float:
            loss = loss_at(move)
            squared = sum(g.square().sum() for g in torch.autograd.grad(loss, step.parameters))
            return float((loss + LAMBDA / 4 * squared).detach())

        g = torch.cat([part.flatten() for part in step.gradients(loss_at(0))])
        slope = (modified(1e-6) - modified(-1e-6)) / 2e-6
        self.assertAlmostEqual(float(g @ along), slope, delta=1e-7 * (1 + float(g.norm())))

    def test_a_round_has_every_kind_of_step(self) -> None:
        turns = Turns(rounds=1, seconds=1e-4)
        with mock.patch.object(implicit_regularization, "BATCH_SIZE", 1), contextlib.redirect_stderr(io.StringIO()):
            measured = implicit_regularization.measure("WideResNet", torch.device("cpu"), None, turns)
        self.assertEqual(set(measured.of(PYTORCH, "penalty")), {"contiguous", "channels last"})
        self.assertEqual(set(measured.times[PYTORCH]), {"plain", "penalty"})
        self.assertIn("PyTorch, penalty / plain step: WideResNet", implicit_regularization.report([measured]))
        self.assertEqual(implicit_regularization.targets_of(measured), [])

    def test_an_image_step_descends(self) -> None:
        step = ImageStep(NETWORKS["WideResNet"](), torch.device("cpu"), torch.contiguous_format)
        before = torch.nn.utils.parameters_to_vector(step.parameters).detach().clone()
        torch.manual_seed(2)
        step()
        after = torch.nn.utils.parameters_to_vector(step.parameters).detach()
        gradient = torch.cat([parameter.grad.flatten() for parameter in step.parameters])
        self.assertLess(float((after - before + 0.01 * gradient).norm()), 1e-6 * float(gradient.norm()))


# All kinds of layers that are there in JAX, for 3 x 12 x 12 pixels.
EVERY_LAYER = (
    {"name": "conv2d", "channels": 4, "kernel": 5, "stride": 1, "bias": True}, {"name": "relu"},
    {"name": "max_pool", "size": 2},
    {"name": "residual", "branch": [
        {"name": "conv2d", "channels": 5, "kernel": 3, "stride": 2, "bias": False},
        {"name": "batch_norm", "ghost_batch_size": 3}, {"name": "scale"}],
     "shortcut": [{"name": "conv2d", "channels": 5, "kernel": 1, "stride": 2, "bias": True}]},
    {"name": "residual", "branch": [{"name": "conv2d", "channels": 5, "kernel": 3, "stride": 1, "bias": True}],
     "shortcut": []},
    {"name": "batch_norm"}, {"name": "flatten"}, {"name": "linear", "units": 7, "bias": False}, {"name": "relu"},
    {"name": "linear", "bias": True},
)  # fmt: skip
POOLED = (*EVERY_LAYER[:1], {"name": "global_average_pool"}, {"name": "linear", "bias": True})


class PlainSteps(unittest.TestCase):
    network = plain.of_layers("784-8-10", (8,), 30, "")
    images = plain.Network("Images", EVERY_LAYER, (3, 12, 12), 6, "")

    def setUp(self) -> None:
        generator = torch.Generator().manual_seed(3)
        pixels = torch.randint(0, 256, (30, 3, 12, 12), dtype=torch.uint8, generator=generator)
        colour = Dataset(pixels, torch.randint(0, 10, (30,), generator=generator), "random")
        patches = contextlib.ExitStack()
        self.addCleanup(patches.close)
        # To compile takes half a minute.
        patches.enter_context(mock.patch.object(torch, "compile", lambda function, **_: function))
        patches.enter_context(mock.patch.object(plain, "LINES", (self.network, self.images)))
        patches.enter_context(mock.patch.object(plain, "COLOUR", self.images.shape))
        patches.enter_context(mock.patch.object(plain, "colour_images", lambda: colour))
        patches.enter_context(contextlib.redirect_stderr(io.StringIO()))

    def test_operations_are_those_of_the_products(self) -> None:
        forward, by_weights, by_inputs = 784 * 8 + 8 * 10, 784 * 8 + 8 * 10, 8 * 10
        self.assertEqual(self.network.operations(), 2 * 30 * (forward + by_weights + by_inputs))
        first, pooled = 75 * 4 * 144, 9 * 5 * 9
        rest = 4 * pooled + 4 * 5 * 9 + 5 * pooled + 45 * 7 + 7 * 10
        self.assertEqual(self.images.operations(), 2 * 6 * (2 * first + 3 * rest))
        self.assertEqual(self.network.title, "784-8-10, batches of 30")

    def test_a_round_has_every_way(self) -> None:
        for line, eager, in_jax in (
            (self.network, {"uint8", "float"}, {"jit"}),
            (self.images, {"contiguous", "channels last"}, {"jit", "jit, reshaped pools"}),
        ):
            turns = Turns(rounds=2, seconds=1e-4, clock="both")
            measured = plain.measure(line, small_data(), None, turns, 1)
            for kind in ("plain", "plain" + PROCESSOR):
                self.assertEqual(set(measured.of(PYTORCH, kind)), {*eager, "compiled"})
                self.assertEqual(set(measured.of(JAX, kind)), set() if missing("jax") else in_jax)
            text = plain.report([measured])
            self.assertIn(f"{line.title} ", text)
            self.assertIn(f"{line.title}, processor time ", text)
            self.assertEqual(plain.targets_of(measured), [])

    def test_every_way_takes_the_step_that_double_precision_takes(self) -> None:
        for line in (self.network, self.images):
            data = plain.examples_of(line, small_data())
            check = plain.Check(line, data)
            with contextlib.suppress(MissingPeer):
                for _, variant, step in plain.steps_of(line, data, 1):
                    self.assertLess(max(check.differences(step).values()), 1e-4, variant)

    def test_what_computes_another_loss_or_step_does_not_count(self) -> None:
        for what, in_loss in (("loss", 0.1), ("step", 0.0)):

            def changed(step: plain.TorchStep, *batch: torch.Tensor, in_loss: float = in_loss) -> torch.Tensor:
                loss = functional.cross_entropy(step.model(batch[0]), batch[1])
                more = 0.1 * (loss - loss.detach()) + in_loss * loss.detach()
                return loss if loss.dtype == torch.float64 else loss + more

            with mock.patch.object(plain.TorchStep, "loss", changed):
                measured = Measured("")
                peers = plain.peers_of(self.network, small_data(), Turns(1, 1e-4), 1, measured)
            self.assertEqual([peer.program for peer in peers], [] if missing("jax") else [JAX])
            for variant in ("uint8", "float", "compiled"):
                told = f"not counted: {PYTORCH}, {variant}: its {what} is 1.0e-01 away"
                self.assertIn(told, "".join(measured.remarks))

    @unittest.skipIf(missing("jax"), "no JAX here")
    def test_any_list_of_layers_in_jax_is_the_twin(self) -> None:
        """Losses and gradients in double; sums of at most a thousand terms, one after another a dozen times."""
        jax = load_jax("cpu", 1)
        jax.config.update("jax_enable_x64", True)
        self.addCleanup(jax.config.update, "jax_enable_x64", False)
        images, labels = torch.randn(6, 3, 12, 12).double(), torch.arange(6)
        for layers, reshaped in ((EVERY_LAYER, False), (EVERY_LAYER, True), (POOLED, False)):
            torch.manual_seed(1)
            module = module_of(layers, (3, 12, 12)).double()
            loss = functional.cross_entropy(module(images), labels)
            expected = [loss.detach(), *torch.autograd.grad(loss, module.parameters())]
            in_jax = JaxNetwork(jax, layers, reshaped)

            def loss_of(parameters: list, in_jax: JaxNetwork = in_jax) -> object:
                logits = in_jax(parameters, as_jax(jax, images.permute(0, 2, 3, 1)))
                return -jax.nn.log_softmax(logits)[np.arange(6), np.arange(6)].mean()

            parts = [part.permute(2, 3, 1, 0) if part.dim() == 4 else part for part in module.parameters()]
            value, gradient = jax.value_and_grad(loss_of)([as_jax(jax, part) for part in parts])
            for one, other in zip([value, *gradient], expected, strict=True):
                array = np.asarray(one)
                array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
                np.testing.assert_allclose(array, other.numpy(), rtol=0, atol=1000 * 12 * EPSILON)

    def test_no_round_begins_that_would_outlast_the_budget(self) -> None:
        for budget, rounds in ((1e-9, 1), (60, 3)):
            measured = Measured("")
            measure_rounds(measured, [Candidate(PYTORCH, "a", lambda: {"plain": 1.0})], Turns(3, 0.1, budget=budget))
            self.assertEqual(measured.of(PYTORCH, "plain"), {"a": [1.0] * rounds})

    def test_a_line_has_both_clocks_share_quartiles_and_verdict(self) -> None:
        ending, peak = PROCESSOR, 2**26 / self.network.operations()
        kinds = {"plain": [1e3, 1e3, 1e3], "plain" + ending: [2e3, 2e3, 2e3]}
        times = {
            SGDSCOPE: {
                kind: {"": of}
                for kind, of in {**kinds, "peak": [500 * peak] * 3, "peak" + ending: [1e3 * peak] * 3}.items()
            },
            PYTORCH: {kind: {"float": [3e3, 2e3, 5e3], "compiled": [2e3, 2e3, 2e3]} for kind in kinds},
            JAX: {kind: {"jit": [1200.0, 1500.0, 1700.0]} for kind in kinds},
        }
        wall, processor = plain.lines_of(Measured(self.network.title, times))
        self.assertRegex(
            wall,
            r"^784-8-10, batches of 30 +3 +50% +1\.000 +3\.000 +2\.000 +1\.500 +3\.00 \(2\.50 to 4\.00\)"
            r" +2\.00 \(2\.00 to 2\.00\) +1\.50 \(1\.35 to 1\.60\)  yes, by 1\.50$",
        )
        (alone,) = plain.lines_of(Measured(self.network.title, {SGDSCOPE: {"plain": {"": [1e3]}}}))
        self.assertRegex(alone, r"^784-8-10, batches of 30 +1 +- +1\.000( +-){6}$")
        self.assertRegex(processor, r"processor time +3 +50% +2\.000 .* 0\.75 \(0\.68 to 0\.80\)  no, by 0\.75$")


class NoiseEnhancement(unittest.TestCase):
    def test_both_ways_descend_along_equation_6(self) -> None:
        for way in (noise_enhancement.TwoLosses, noise_enhancement.JoinedBatch):
            torch.manual_seed(1)
            step = way([8], small_data(), 30)
            parameters = list(step.model.parameters())
            before = torch.nn.utils.parameters_to_vector(parameters).detach().clone()
            torch.manual_seed(2)
            first, second = step.shuffle.next(), step.second.next()
            self.assertEqual((len(first), len(second), bool(first.equal(second))), (30, 30, False))
            gradients = []
            for indices in (first, second):
                by_layer = torch.autograd.grad(step.loss_of(step.fetch(indices)), parameters)
                gradients.append(torch.cat([part.flatten() for part in by_layer]))
            step.shuffle.position = step.second.position = 300  # draws both again
            torch.manual_seed(2)
            step()
            after = torch.nn.utils.parameters_to_vector(parameters).detach()
            expected = 0.1 * (2 * gradients[0] - gradients[1])
            self.assertLess(float((before - after - expected).norm()), 1e-6 * float(before.norm()), way.__name__)
            self.assertGreater(float(expected.norm()), 1e-3 * float(before.norm()))

    def test_a_round_has_every_way(self) -> None:
        with mock.patch.object(noise_enhancement, "HIDDEN", (4,)), contextlib.redirect_stderr(io.StringIO()):
            measured = noise_enhancement.measure(50, small_data(), None, Turns(rounds=1, seconds=1e-4))
        self.assertEqual(set(measured.of(PYTORCH, "plain")), {"uint8", "float"})
        ways = {f"{data}, {way}" for data in ("uint8", "float") for way in ("two losses", "joined batch")}
        self.assertEqual(set(measured.of(PYTORCH, "noise enhanced")), ways)
        self.assertIn("noise enhanced / plain step:\n  F1, batches of 50", noise_enhancement.report([measured]))
        self.assertEqual(noise_enhancement.targets_of(measured), [])


class GeneralizationGap(unittest.TestCase):
    def test_the_step_descends_and_measures_the_gap(self) -> None:
        torch.manual_seed(1)
        step = generalization_gap.GapStep([8], small_data(), 30)
        before = torch.nn.utils.parameters_to_vector(step.parameters).detach().clone()
        torch.manual_seed(2)
        batches = [step.fetch(step.test.next()), step.fetch(step.shuffle.next())]
        step.shuffle.position = step.test.position = 300  # draws both again
        losses = torch.stack([step.loss_of(batch) for batch in batches])
        gradients = []
        for loss in losses:
            by_layer = torch.autograd.grad(loss, step.parameters, retain_graph=True)
            gradients.append(torch.cat([part.flatten() for part in by_layer]))
        torch.manual_seed(2)
        step()
        after = torch.nn.utils.parameters_to_vector(step.parameters).detach()
        self.assertLess(float((before - after - 0.1 * gradients[1]).norm()), 1e-6 * float(before.norm()))
        predicted = 0.1 * (gradients[1] @ (gradients[1] - gradients[0]))
        changes = torch.stack([step.loss_of(batch) for batch in batches]) - losses
        expected = torch.stack([predicted, changes[0] - changes[1], *changes]).detach()
        self.assertGreater(float(expected.abs().min()), 1e-5)
        torch.testing.assert_close(step.kept, expected, rtol=1e-4, atol=1e-6)

    def test_a_round_has_every_way(self) -> None:
        with mock.patch.object(generalization_gap, "HIDDEN", (4,)), contextlib.redirect_stderr(io.StringIO()):
            measured = generalization_gap.measure(small_data(), None, Turns(rounds=1, seconds=1e-4))
        self.assertEqual(set(measured.of(PYTORCH, "gap")), {"uint8 data", "float data"})
        self.assertEqual(set(measured.times[PYTORCH]), {"plain", "gap"})
        self.assertIn("PyTorch, gap step / plain step: ", generalization_gap.report([measured]))
        self.assertEqual(generalization_gap.targets_of(measured), [])


class Hessians(unittest.TestCase):
    def test_every_way_finds_the_largest_eigenvalue(self) -> None:
        torch.manual_seed(1)
        model, inputs, labels = network((6, 5, 4)), torch.randn(20, 6), torch.randint(0, 4, (20,))
        parameters = list(model.parameters())
        loss = functional.cross_entropy(model(inputs), labels)
        gradient = torch.autograd.grad(loss, parameters, create_graph=True)
        flat = torch.cat([part.flatten() for part in gradient])
        rows = [torch.autograd.grad(number, parameters, retain_graph=True) for number in flat]
        dense = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
        largest = float(torch.linalg.eigvalsh(dense)[-1])
        for way in (hessian.DoubleBackward, hessian.Curvlinops, hessian.PyHessian):
            with self.subTest(way=way.name):
                try:
                    products = way((model, inputs, labels))
                except MissingPeer:
                    continue
                products.refresh()
                self.assertAlmostEqual(products.largest(), largest, delta=0.02 * largest)
                v = torch.randn(len(flat))
                torch.testing.assert_close(products.product(v), dense @ v, rtol=1e-4, atol=1e-5)

    def test_a_round_has_every_kind(self) -> None:
        with (
            mock.patch.object(hessian, "HIDDEN", (4,)),
            mock.patch.object(hessian, "EXAMPLES", 50),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            measured = hessian.measure(hessian.MLP, small_data(), None, Turns(rounds=1, seconds=1e-4))
        self.assertEqual(set(measured.times[PYTORCH]), {"gradient", "product", "ten steps"})
        self.assertIn("double backward", measured.of(PYTORCH, "ten steps"))
        for package, way in (("curvlinops", hessian.Curvlinops), ("pyhessian", hessian.PyHessian)):
            self.assertEqual(way.name in measured.of(PYTORCH, "ten steps"), not missing(package))
            self.assertEqual(any(way.name in remark for remark in measured.remarks), missing(package))
        self.assertIn("ten steps", hessian.report([measured]))
        self.assertEqual(hessian.targets_of(measured), [])

    def test_a_round_of_resnet_has_products(self) -> None:
        with (
            mock.patch.object(hessian, "IMAGES", 2),
            mock.patch.dict(NETWORKS, ResNet18=NETWORKS["WideResNet8"]),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            measured = hessian.measure(hessian.RESNET, small_data(), None, Turns(rounds=1, seconds=1e-4))
        self.assertEqual(set(measured.times[PYTORCH]), {"gradient", "product"})
        self.assertIn("ResNet18: fastest peer, product / PyTorch's gradient", hessian.report([measured]))
        self.assertEqual(hessian.targets_of(measured), [])


class Stability(unittest.TestCase):
    def test_a_batchs_sharpness_is_the_curvature_along_its_gradient(self) -> None:
        torch.manual_seed(1)
        step = stability.SharpnessStep((5, 4), small_data().as_float(), 9)
        batch = step.fetch(step.fresh.next())
        names = [name for name, _ in step.model.named_parameters()]
        gradient = torch.autograd.grad(step.loss_of(batch), step.parameters)
        s = torch.zeros((), requires_grad=True)
        moved = {name: p.detach() + s * g for name, p, g in zip(names, step.parameters, gradient)}
        loss = functional.cross_entropy(torch.func.functional_call(step.model, moved, batch[0]), batch[1])
        (slope,) = torch.autograd.grad(loss, s, create_graph=True)
        (curvature,) = torch.autograd.grad(slope, s)
        expected = float(curvature / sum(g.square().sum() for g in gradient))
        self.assertAlmostEqual(float(step.sharpness_of(batch)), expected, delta=1e-4 * abs(expected))

    def test_a_round_has_both_kinds_of_data(self) -> None:
        with (
            mock.patch.object(stability, "HIDDEN", (4,)),
            mock.patch.object(stability, "BATCHES", 3),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            measured = stability.measure(8, small_data(), None, Turns(rounds=1, seconds=1e-4))
        self.assertEqual(set(measured.of(PYTORCH, "sharpness")), {"uint8 data", "float data"})
        self.assertIn("batches of 8", stability.report([measured]))
        self.assertEqual(stability.targets_of(measured), [])


class InterventionsSteps(unittest.TestCase):
    def test_clipped_gradients_are_those_of_a_loop_over_examples(self) -> None:
        with mock.patch.object(interventions, "HIDDEN", (6,)):
            step = interventions.from_seed(interventions.ClippedStep, small_data().as_float())
        batch = step.fetch(torch.arange(100))
        gradients = reference_gradients(step.model, *batch)
        norm = float(np.median(np.linalg.norm(gradients, axis=1)))
        expected = sum(g * min(1, norm / np.linalg.norm(g)) for g in gradients) / 100
        with mock.patch.object(interventions, "NORM", norm):
            np.testing.assert_allclose(interventions.reference_clipped(gradients), expected, atol=1e-15)
            found = torch.cat([part.flatten() for part in step.gradient(batch)])
        self.assertLessEqual(relative_difference(found, expected), rounding_bound((784, 6, 10), 100))

    def test_sam_takes_the_gradient_uphill_and_leaves_the_weights(self) -> None:
        with mock.patch.object(interventions, "HIDDEN", (6,)):
            step = interventions.from_seed(interventions.SamStep, small_data().as_float())
        batch, before = step.fetch(torch.arange(100)), [p.detach().clone() for p in step.parameters]
        gradient = torch.autograd.grad(step.loss_of(batch), step.parameters)
        norm = sum(part.square().sum() for part in gradient).sqrt()
        found = step.gradient(batch)
        for parameter, old in zip(step.parameters, before):
            torch.testing.assert_close(parameter.detach(), old, atol=1e-6, rtol=0)
        with torch.no_grad():
            for parameter, part in zip(step.parameters, gradient):
                parameter.add_(part, alpha=float(interventions.RHO / norm))
        for one, other in zip(found, torch.autograd.grad(step.loss_of(batch), step.parameters)):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)

    def test_a_round_has_every_peer_and_names_those_missing(self) -> None:
        absent = mock.Mock(side_effect=MissingPeer("Opacus", "not installed", "opacus"))
        with (
            mock.patch.multiple(interventions, HIDDEN=(4,), OpacusStep=absent),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            measured = interventions.measure(small_data(), None, Turns(rounds=1, seconds=1e-4))
        self.assertEqual(set(measured.of(PYTORCH, "clipped")), {"outer products"})
        self.assertEqual(set(measured.of(PYTORCH, "sam")), {"PyTorch"})
        self.assertIn("not measured: Opacus", interventions.report([measured]))
        self.assertEqual(interventions.targets_of(measured), [])


class Verdicts(unittest.TestCase):
    @staticmethod
    def verdicts(measured: Measured, targets_of: Callable = coherent_gradients.targets_of) -> dict[str, bool]:
        return {target.what: target.met() for target in targets_of(measured)}

    @staticmethod
    def measured(ours: dict[str, Sequence[float]], **peers: dict[str, dict[str, list[float]]]) -> Measured:
        times = {SGDSCOPE: {kind: {"": list(values)} for kind, values in ours.items()}, **peers}
        return Measured("784-64-10", times)

    def test_bounds_hold_for_the_median_of_the_rounds_ratios(self) -> None:
        # c = 2: ratios 2.5, 3 and 9, the bound being 3; c = 8: 5.1 throughout, the bound being 5.
        measured = self.measured(
            {"plain": (10, 20, 10), "winsorized_2": (25, 60, 90), "winsorized_8": (51, 102, 51), "trace": (12, 24, 12)},
            **{
                PYTORCH: {"winsorized_2": {"slow": [9e3, 9e3, 9e3], "topk": [2500.0, 6000.0, 100.0]}},
                JAX: {"winsorized_2": {"fast": [1.0, 1.0, 1.0]}},
            },
        )
        self.assertEqual(
            self.verdicts(measured),
            {
                "sgdscope, winsorized, c = 2 / plain step": True,
                "sgdscope, winsorized, c = 8 / plain step": False,
                "sgdscope, covariance trace / plain step": True,
                "winsorized, c = 2: PyTorch's best / sgdscope": True,
            },
        )
        self.assertEqual(str(ratio((25, 60, 90), (10, 20, 10))), "3.00 (2.50 to 9.00)")

    def test_what_was_not_measured_gets_no_verdict(self) -> None:
        self.assertEqual(self.verdicts(self.measured({"plain": (10,)})), {})
        self.assertEqual(self.verdicts(Measured("784-64-10")), {})
        self.assertEqual(self.verdicts(Measured("784-64-10"), inherent_noise.targets_of), {})

    def test_verdicts_of_inherent_noise(self) -> None:
        measured = self.measured(
            {"plain": (10,), "taylor": (43,), "csv": (0.1,)}, **{PYTORCH: {"plain": {"a": [16.0], "b": [14.0]}}}
        )
        self.assertEqual(list(self.verdicts(measured, inherent_noise.targets_of).values()), [False, False, True])

    def test_verdicts_of_implicit_regularization(self) -> None:
        measured = self.measured(
            {"plain": (10,), "penalty": (34,), "penalty by difference": (22,)}, **{PYTORCH: {"plain": {"a": [9.0]}}}
        )
        measured.network = "WideResNet"
        self.assertEqual(
            list(self.verdicts(measured, implicit_regularization.targets_of).values()), [False, True, False]
        )

    def test_verdicts_of_plain_steps(self) -> None:
        measured = self.measured(
            {"plain": (10,), "peak": (1,)},
            **{PYTORCH: {"plain": {"float": [13.0], "compiled": [11.0]}}, JAX: {"plain": {"jit": [12.0]}}},
        )
        for name, met in (("784-64-10, batches of 100", [False, True]), ("C1, batches of 16", [True, True])):
            measured.network = name
            self.assertEqual(list(self.verdicts(measured, plain.targets_of).values()), met)

    def test_verdicts_of_noise_enhancement(self) -> None:
        measured = self.measured(
            {"plain": (10,), "noise enhanced": (22,)},
            **{PYTORCH: {"plain": {"a": [12.0]}, "noise enhanced": {"a": [24.0], "b": [21.0]}}},
        )
        self.assertEqual(list(self.verdicts(measured, noise_enhancement.targets_of).values()), [False, True, False])

    def test_verdicts_of_generalization_gap(self) -> None:
        measured = self.measured(
            {"plain": (10,), "gap": (26,), "gap, covariance": (28,)},
            **{PYTORCH: {"plain": {"a": [12.0]}, "gap": {"a": [30.0], "b": [27.0]}}},
        )
        self.assertEqual(list(self.verdicts(measured, generalization_gap.targets_of).values()), [True, False, True])

    def test_verdicts_of_hessian(self) -> None:
        measured = self.measured(
            {"gradient": (10,), "product": (21,), "ten steps": (100,)},
            **{PYTORCH: {"ten steps": {"a": [600.0], "b": [499.0]}}},
        )
        self.assertEqual(list(self.verdicts(measured, hessian.targets_of).values()), [True, False])
        measured = self.measured({"gradient": (10,), "product": (25,)})
        for name, met in (("784-64-10", False), ("ResNet18", True)):
            measured.network = name
            self.assertEqual(list(self.verdicts(measured, hessian.targets_of).values()), [met])

    def test_verdicts_of_stability(self) -> None:
        for ours, met in ((100, True), (101, False)):
            measured = self.measured({"sharpness": (ours,)}, **{PYTORCH: {"sharpness": {"a": [500.0], "b": [700.0]}}})
            self.assertEqual(list(self.verdicts(measured, stability.targets_of).values()), [met])

    def test_verdicts_of_interventions(self) -> None:
        measured = self.measured(
            {"plain step": (10,), "clipped": (12,), "Gaussian noise": (16,), "sam": (21,), "asam": (9,)}
        )
        self.assertEqual(list(self.verdicts(measured, interventions.targets_of).values()), [True, False, True])

    def test_the_json_holds_every_round(self) -> None:
        measured = self.measured({"plain": (10, 20)}, **{PYTORCH: {"plain": {"a": [16.0, 17.0]}}})
        found = json.loads(json.dumps(as_json([measured], [], {})))
        self.assertEqual(
            found["networks"]["784-64-10"],
            {"pytorch_us": {"plain": {"a": [16.0, 17.0]}}, "sgdscope_us": {"plain": [10, 20]}},
        )


class CommandLine(unittest.TestCase):
    def test_defaults_are_those_of_inherent_noise(self) -> None:
        options = bench_peers.parse_arguments([])
        self.assertEqual((options.work, options.widths, options.clock), ("inherent_noise", [64, 2000, 8000], "wall"))

    def test_networks_and_batches_choose_lines_of_plain(self) -> None:
        options = bench_peers.parse_arguments(
            ["--work", "plain", "--networks", "C1,784-64-10", "--batches", "100,1000"]
        )
        titles = ["784-64-10, batches of 100", "C1, batches of 100", "C1, batches of 1000"]
        self.assertEqual([line.title for line in options.lines], titles)
        self.assertEqual(bench_peers.parse_arguments(["--networks", "2000"]).widths, [2000])
        self.assertEqual(bench_peers.parse_arguments(["--work", "all"]).lines, list(plain.LINES))
        for arguments, where in (
            (["--work", "plain", "--networks", "C9"], "--networks: found 'C9'"),
            (["--work", "plain", "--batches", "7"], "--batches: found '7'"),
            (["--work", "plain", "--networks", "C1", "--batches", "25"], "--batches: C1 is not measured"),
            (["--work", "stability", "--networks", "C1"], "--networks: --work stability has no choice"),
            (["--batches", "16"], "--batches: --work inherent_noise has no choice"),
            (["--clock", "both"], "--clock: only plain steps"),
        ):
            with self.subTest(arguments=arguments), self.assertRaisesRegex(Error, where):
                bench_peers.parse_arguments(arguments)

    def test_processor_time_of_several_threads_is_refused(self) -> None:
        error = io.StringIO()
        with contextlib.redirect_stderr(error):
            self.assertEqual(bench_peers.main(["--clock", "cpu", "--threads", "2"]), 2)
        self.assertIn("--clock", error.getvalue())


if __name__ == "__main__":
    unittest.main()
