#!/usr/bin/env python3
"""Tests of studies, and of all studies of the papers' figures: python tests/studies_test.py"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
import unittest
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from run_folders import PROGRAM, SIZES

# isort: split
from sgdscope.catalogue import CONFIGS, ROOT, figures, jobs_of, papers, sizes_of_paper, study_file, study_of, with_size
from sgdscope.durations import Durations
from sgdscope.errors import Error
from sgdscope.studies import KEYS, Job, Study, load_study, plain, read_json, sizes_of, stages

SCHEMA = ROOT / "scripts/sgdscope/study.schema.json"


class Studies(unittest.TestCase):
    """Studies that are made here."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)

    def write(self, study: dict[str, Any] | str, name: str = "mine.study.json") -> Path:
        """Writes a study file and returns its path."""
        file = self.root / name
        file.write_text(study if isinstance(study, str) else json.dumps(study))
        return file

    def load(self, size: str = "", **study: Any) -> Study:
        """A study of a config, of one curve where nothing else is said."""
        return load_study(self.write({"config": "c.json", "name": "x", "curves": {"all": {}}, **study}), size)

    def words(self, size: str = "", **study: Any) -> dict[str, list[str]]:
        """The overrides of a study's settings by their names."""
        return {setting.name: list(setting.overrides) for setting in self.load(size, **study).settings}

    def refused(self, call: Callable[[], object], status: int = 2) -> str:
        """The message of the error that a call must raise."""
        with self.assertRaises(Error) as caught:
            call()
        self.assertEqual(caught.exception.status, status)
        return str(caught.exception)


class Grammar(Studies):
    def test_a_grid_with_seeds(self) -> None:
        study = self.load(
            seeds=[3, 1],
            name=["rate{rate}", "B{batch}"],
            set={"update.learning_rate": "{rate}", "batch_size": "{batch}"},
            curves={"all": {"vary": {"rate": [0.1, 1e-3], "batch": [8, 16]}}},
        )
        self.assertEqual([job.folder for job in study.jobs()][:3],
                         ["rate0.1_B8,seed=3", "rate0.1_B8,seed=1", "rate0.1_B16,seed=3"])  # fmt: skip
        job = study.jobs()[-1]
        self.assertEqual(job.words(), ["sgdscope", "run", str(self.root / "c.json"), "--set", "update.learning_rate=0.001",
                                       "--set", "batch_size=16", "--seed", "1"])  # fmt: skip
        self.assertEqual([setting["batch"] for setting in study.curve("all", rate=0.1)], [8, 16])
        self.assertEqual({rate: len(found) for rate, found in study.by("all", "rate").items()}, {0.1: 2, 1e-3: 2})

    def test_without_seeds_a_setting_is_run_once_as_its_config_says(self) -> None:
        (job,) = self.load().jobs()
        self.assertEqual((job.folder, job.words()), ("x", ["sgdscope", "run", str(self.root / "c.json")]))

    def test_values_that_depend_on_others(self) -> None:
        found = self.words(
            name="b{batch}",
            values={"epochs": "{24 * batch / 16}", "rate": "{2.0 ** -log2(batch)}", "least": "{max(batch, 10)}"},
            set={
                "epochs": "{epochs}",
                "update": {"name": "sgd", "learning_rate": "{rate}"},
                "eval.every": "{least + 1}",
            },
            curves={"all": {"vary": {"batch": [8, 16]}}},
        )
        self.assertEqual(found["b8"], ["epochs=12", 'update={"name": "sgd", "learning_rate": 0.125}', "eval.every=11"])
        self.assertEqual(
            found["b16"], ["epochs=24", 'update={"name": "sgd", "learning_rate": 0.0625}', "eval.every=17"]
        )

    def test_numbers_are_written_as_they_are(self) -> None:
        numbers = {
            "a": "{1 / 2}",
            "b": "{4 / 2}",
            "c": "{2.0 ** 0}",
            "d": 1e-05,
            "e": 3,
            "f": "{-n}",
            "g": "text",
            "h": True,
        }
        found = self.words(values={"n": 2}, set=numbers)
        self.assertEqual(found["x"], ["a=0.5", "b=2", "c=1.0", "d=1e-05", "e=3", "f=-2", "g=text", "h=true"])

    def test_what_speaks_of_an_absent_value_or_the_default_is_left_out(self) -> None:
        found = self.words(
            name=["x", "n{n}", "penalty{penalty}"],
            defaults={"n": 1},
            values={"moves": "{n}"},
            set={"update.n": "{n}", "moves": "{moves}", "gradient": {"lambda": "{penalty}"}},
            curves={"all": {"vary": [{"n": [1, 2]}, {"n": 2, "penalty": 0.5}]}},
        )
        self.assertEqual(found, {
            "x": ["moves=1"],
            "x_n2": ["update.n=2", "moves=2"],
            "x_n2_penalty0.5": ["update.n=2", "moves=2", 'gradient={"lambda": 0.5}'],
        })  # fmt: skip

    def test_sizes_add_to_the_study_and_come_last(self) -> None:
        study = {
            "seeds": [1, 2],
            "common": {"epochs": 9},
            "set": {"a": "{a}", "b": 2},
            "curves": {"one": {"values": {"a": 1}}, "other": {"values": {"a": 3}}},
            "name": "a{a}",
            "sizes": {"quick": {"seeds": [1], "set": {"c": 4}, "common": {"steps": 5}, "only": ["other"]}, "full": {}},
        }
        quick, full = (self.load(size, **study) for size in SIZES)
        self.assertEqual(
            [setting.overrides for setting in quick.settings], [("epochs=9", "steps=5", "a=3", "b=2", "c=4")]
        )
        self.assertEqual([setting.overrides for setting in full.settings],
                         [("epochs=9", "a=1", "b=2"), ("epochs=9", "a=3", "b=2")])  # fmt: skip
        self.assertEqual((quick.seeds, full.seeds), ((1,), (1, 2)))

    def test_a_study_takes_what_it_does_not_change_from_the_one_it_extends(self) -> None:
        self.write(
            '// shared\n{"config": "c.json", "name": "n{n}", "seeds": [7], "curves": {"a": {"vary": {"n": [1]}}, '
            '"b": {"vary": {"n": [2]}}}, "sizes": {"quick": {"set": {"epochs": 1}}}}',
            "shared.study.json",
        )
        mine = self.write({"extends": "shared.study.json", "only": ["b"], "sizes": {"quick": {"set": {"steps": 2}}}})
        self.assertEqual(sizes_of(mine), ["quick"])
        (job,) = load_study(mine, "quick").jobs()
        self.assertEqual((job.folder, job.overrides), ("n2,seed=7", ("epochs=1", "steps=2")))

    def test_runs_that_begin_from_weights_of_others(self) -> None:
        curves = {
            "late": {"values": {"kind": "late"}, "vary": {"of": ["one", "two"]}, "after": "{of}"},
            "first": {"vary": {"kind": ["one", "two"]}},
            "last": {"values": {"kind": "last"}, "after": "late_one"},
        }
        study = self.load(seeds=[3, 4], name=["{kind}", "{of}"], curves=curves)
        found = [[job.folder for job in stage if job.seed == 3] for stage in stages(study.jobs())]
        self.assertEqual(found, [["one,seed=3", "two,seed=3"], ["late_one,seed=3", "late_two,seed=3"], ["last,seed=3"]])
        after = {job.folder: job.after for job in study.jobs()}
        self.assertEqual((after["late_two,seed=4"], after["one,seed=4"]), ("two,seed=4", ""))
        (job,) = self.load(
            name="{kind}", curves={"a": {"values": {"kind": "a"}}, "b": {"values": {"kind": "b"}, "after": "a"}}
        ).jobs()[1:]
        self.assertEqual(job.after, "a")

    def test_which_runs_may_diverge(self) -> None:
        curves = {"a": {"values": {"kind": "a"}}, "b": {"values": {"kind": "b"}, "may_diverge": False}}
        for said, expected in (({}, [False, False]), ({"may_diverge": True}, [True, False])):
            jobs = self.load(name="{kind}", curves=curves, **said).jobs()
            self.assertEqual([job.may_diverge for job in jobs], expected)

    def test_equal_settings_of_two_curves_are_run_once(self) -> None:
        study = self.load(name="n{n}", curves={"a": {"vary": {"n": [1, 2]}}, "b": {"vary": {"n": [2, 3]}}})
        self.assertEqual([job.folder for job in study.jobs()], ["n1", "n2", "n3"])
        self.assertEqual([setting["n"] for setting in study.curve("b")], [2, 3])

    def test_values_that_are_lists_or_have_braces_are_not_taken_apart(self) -> None:
        found = self.words(
            name="h{plain(hidden)}",
            set={"model.hidden": "{hidden}"},
            curves={"all": {"vary": {"hidden": [[64], "{no expression}"]}}},
        )
        self.assertEqual(found, {"h64": ["model.hidden=[64]"], "hno_expression": ["model.hidden={no expression}"]})
        self.assertEqual([plain(value) for value in ("[64, 32]", 1e-3, "a//b", "")], ["64_32", "0.001", "a_b", ""])


class Refusals(Studies):
    def test_errors_name_the_file_the_place_and_what_is_allowed(self) -> None:
        for study, words in (
            ({"curvs": {}}, ("mine.study.json: curvs: a study has no such key", "did you mean curves?")),
            ({"curves": {"all": {"very": {}}}}, ("curves.all.very: a curve has no such key", "did you mean vary?")),
            ({"sizes": {"quick": {"sets": {}}}}, ("sizes.quick.sets: a size has no such key", "did you mean")),
            ({"values": [1]}, ("values: found [1], expected an object",)),
            ({"config": 3}, ("config: found 3, expected a file's name",)),
            ({"set": {"a": "{rat}"}, "values": {"rate": 1}}, ("'rat' has no value anywhere", "did you mean rate?")),
            ({"set": {"a": "{1 +}"}}, ("'{1 +}' is no expression", "log2, min, max, plain")),
            ({"set": {"a": "{open('f')}"}}, ("'open' has no value anywhere",)),
            ({"set": {"a": "{().__class__}"}}, ("is no expression",)),
            ({"set": {"a": "{1 / 0}"}}, ("'{1 / 0}' has no value: ",)),
            ({"values": {"a": "{b}", "b": "{a}"}}, ("a value needs itself: a needs b needs a",)),
            ({"curves": {"all": {"vary": {"n": []}}}}, ("curves.all.vary.n: found no values",)),
            ({"curves": {"all": {"vary": 3}}}, ("curves.all.vary: found 3",)),
            ({"curves": {}}, ("curves: there is no setting in it",)),
            ({"curves": {"all": {"after": 3}}}, ("curves.all.after: found 3", "name a setting")),
            ({"curves": {"all": {"after": "y"}}}, ("after: there is no setting 'y'", "known names: x")),
            ({"curves": {"all": {"after": "x"}}}, ("after: a setting comes after itself: x after x",)),
            ({"may_diverge": 1}, ("may_diverge: found 1", "write true or false")),
            ({"only": ["al"]}, ("only: there is no curve 'al'", "did you mean all?")),
            ({"seeds": [1, 1]}, ("seeds: found [1, 1]", "each once")),
            ({"seeds": [0.5]}, ("write whole numbers",)),
            ({"name": 3}, ("name: found 3", "write a list of texts")),
            ({"only": [1]}, ("only: found [1]",)),
            ({"extends": "mine.study.json"}, ("extends: the study extends itself",)),
            (
                {"common": {"a": "{n}"}, "curves": {"all": {"vary": [{"n": 1}, {"m": 2}]}}},
                ("curves.all: config, common or after speaks of 'n', which has no value here",),
            ),
            ({"name": "a/b"}, ("found the name 'a/b'",)),
            ({"name": "a" * 201}, ("at most 200 characters",)),
            (
                {"set": {"n": "{n}"}, "curves": {"all": {"vary": {"n": [1, 2]}}}},
                ("two settings have the name x", "n=1"),
            ),
        ):
            with self.subTest(study=study):
                message = self.refused(lambda study=study: self.load(**study))
                self.assertIn(str(self.root), message)
                for part in words:
                    self.assertIn(part, message)
        self.assertIn("there is no config", self.refused(lambda: load_study(self.write({"curves": {"a": {}}}), "")))

    def test_sizes_that_do_not_exist(self) -> None:
        sizes = {"quick": {}, "full": {}}
        self.assertIn("did you mean quick?", self.refused(lambda: self.load("quik", sizes=sizes)))
        self.assertIn("choose from quick, full", self.refused(lambda: self.load(sizes=sizes)))
        self.assertIn("there is no size 'quick'", self.refused(lambda: self.load("quick")))

    def test_what_is_no_json_names_the_line_behind_comments(self) -> None:
        file = self.write('// first\n{"a": 1, /* two\nlines */ "b": }')
        message = self.refused(lambda: read_json(file), status=3)
        self.assertIn(f"{file}: is not JSON: Expecting value: line 3", message)
        file.write_text('{"a": "//no \\" /*comment*/", /* two\nlines */ "b": [1] // last\n}')
        self.assertEqual(read_json(file), {"a": '//no " /*comment*/', "b": [1]})

    def test_a_varied_value_that_is_nowhere_given_in_this_size(self) -> None:
        study = {
            "name": "n{n}",
            "curves": {"all": {"vary": {"n": "{ns}"}}},
            "sizes": {"a": {"values": {"ns": [1]}}, "b": {}},
        }
        self.assertEqual(len(self.load("a", **study).settings), 1)
        self.assertIn("curves.all.vary.n: '{ns}' has no value here", self.refused(lambda: self.load("b", **study)))


class OfThePapers(unittest.TestCase):
    def test_editors_know_the_keys(self) -> None:
        schema = read_json(SCHEMA)
        size = schema["properties"]["sizes"]["additionalProperties"]
        curve = schema["$defs"]["curves"]["additionalProperties"]
        for kind, part in (("study", schema), ("size", size), ("curve", curve)):
            self.assertEqual(set(part["properties"]), set(KEYS[kind]))
        for file in CONFIGS.glob("*/*.study.json"):
            self.assertEqual(Path(file.parent, read_json(file)["$schema"]).resolve(), SCHEMA)

    def test_every_figure_has_a_study_and_every_study_a_figure(self) -> None:
        for paper in papers():
            files = {file.name.partition(".")[0] for file in (CONFIGS / paper).glob("[!_]*.study.json")}
            self.assertEqual(files, set(figures(paper)))
            for figure in files:
                self.assertLessEqual({*SIZES}, {*sizes_of(study_file(paper, figure))})

    def test_a_desk_figure_takes_at_most_three_hours_and_five_seeds_or_more(self) -> None:
        for paper in papers():
            for figure in with_size(paper, figures(paper), "desk"):
                seconds = Durations.load(paper).of_all("desk", jobs_of(paper, [figure], "desk"))
                self.assertIsNotNone(seconds, f"{paper}/{figure}")
                self.assertLessEqual(seconds or 0, 3 * 3600, f"{paper}/{figure}")
                self.assertGreaterEqual(len(study_of(paper, figure, "desk").seeds), 5)
                unjudged = figures(paper)[figure].unjudged
                if set(unjudged) != set(
                    sizes_of(study_file(paper, figure))
                ):  # what any network obeys is judged at no size
                    self.assertNotIn("desk", unjudged)

    def test_a_desk_network_is_of_the_papers_kind(self) -> None:
        for paper in papers():
            for job in jobs_of(paper, with_size(paper, figures(paper), "desk"), "desk"):
                for override in job.overrides:
                    self.assertNotRegex(override, r"^(model|model\.name|model\.norm|data|data\.name)=")

    def test_full_sizes_leave_the_official_split_to_where_the_data_are(self) -> None:
        for paper in papers():
            for job in jobs_of(paper, figures(paper), "full"):
                data = read_json(job.config)["data"]
                own = [key for key in data if key.endswith("_files")]
                own += [override for override in job.overrides if "_files" in override]
                self.assertEqual(own, [], job.config)

    def resolved(self, jobs: Sequence[Job], more: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
        """What the program makes of each job with more words behind its own."""
        with tempfile.NamedTemporaryFile("w", suffix=".jobs") as file:
            for i, (job, words) in enumerate(zip(jobs, more)):
                file.write(f"{shlex.join([*job.words(), *words])} --output o/{i}\n")
            file.flush()
            done = subprocess.run(
                [PROGRAM, "resolve", "--jobs", file.name], capture_output=True, text=True, check=False
            )
        told = "\n".join(done.stderr.splitlines()[:5])
        self.assertEqual((done.returncode, told), (0, ""))
        return [json.loads(line)["config"] for line in done.stdout.splitlines()]

    @unittest.skipUnless(shutil.which(PROGRAM), "the program is not built")
    def test_the_program_takes_every_job_of_every_size(self) -> None:
        """Also with examples of which it knows how many there are: then it can tell what does not fit into the run."""
        jobs = list({
            job: ""
            for paper in papers()
            for size in sizes_of_paper(paper)
            for job in jobs_of(paper, with_size(paper, figures(paper), size), size)
        })  # fmt: skip
        configs = self.resolved(jobs, [[]] * len(jobs))
        self.assertEqual(len(configs), len(jobs))
        self.resolved(jobs, [["--set", f"data={json.dumps(stand_in(config['data']))}"] for config in configs])


def stand_in(data: dict[str, Any]) -> dict[str, Any]:
    """Synthetic data of the size that a resolved config's data have."""
    if data["name"] == "synthetic":
        return data
    images = data["name"].startswith("cifar")
    train = 10000 * (len(data["train_files"]) or 5) if data["name"] == "cifar10" else 50000 if images else 60000
    test, shape, classes = 10000, [3, 32, 32] if images else [1, 28, 28], 100 if data["name"] == "cifar100" else 10
    sizes = {
        "train_size": min(train, data.get("train_limit", train)),
        "test_size": min(test, data.get("test_limit", test)),
    }
    noise = {"label_noise": data["label_noise"]} if "label_noise" in data else {}
    return {"name": "synthetic", "shape": shape, "classes": classes, **sizes, **noise}


@unittest.skipUnless(shutil.which(PROGRAM), "the program is not built")
class Grid(Studies):
    """scripts/grid.sh on studies; on command lines tests/sweep_test.sh has it."""

    def grid(self, *arguments: str, program: str = PROGRAM) -> subprocess.CompletedProcess[str]:
        """Calls it in the temporary folder."""
        environment = {**os.environ, "SGDSCOPE": program}
        command = [str(ROOT / "scripts/grid.sh"), *arguments]
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)

    def setUp(self) -> None:
        super().setUp()
        shutil.copy(ROOT / "configs/quickstart.json", self.root / "c.json")
        rates = {"curves": {"rates": {"vary": {"rate": [0.1, 0.2]}}}, "set": {"update.learning_rate": "{rate}"}}
        sizes = {"quick": {"set": {"epochs": 1}}, "full": {}}
        self.write({"config": "c.json", "seeds": [1], "name": "rate{rate}", **rates, "sizes": sizes})

    def test_the_jobs_of_a_study(self) -> None:
        done = self.grid("mine.study.json", "--size", "quick")
        self.assertEqual(done.stdout.splitlines(), [
            "# scripts/grid.sh mine.study.json --size quick",
            "sgdscope run c.json --set update.learning_rate=0.1 --set epochs=1 --seed 1 --output runs/mine_quick/rate0.1,seed=1",
            "sgdscope run c.json --set update.learning_rate=0.2 --set epochs=1 --seed 1 --output runs/mine_quick/rate0.2,seed=1",
        ], done.stderr)  # fmt: skip
        self.assertIn(
            "--output my/rate0.1,seed=1\n", self.grid("mine.study.json", "--size", "full", "--out", "my/").stdout
        )

    def test_a_full_disk_is_told(self) -> None:
        with open("/dev/full", "w") as full:
            command = [str(ROOT / "scripts/grid.sh"), "c.json", "--out", "o", "--seeds", "1"]
            environment = {**os.environ, "SGDSCOPE": PROGRAM}
            done = subprocess.run(
                command, cwd=self.root, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertRegex(
            done.stderr, r"^error: standard output: cannot be written: No space left on device\n  [^\n]+\n$"
        )

    def test_settings_that_begin_from_weights_of_others_are_refused(self) -> None:
        curves = {"one": {"values": {"kind": "one"}}, "two": {"values": {"kind": "two"}, "after": "one"}}
        self.write({"config": "c.json", "seeds": [1], "name": "{kind}", "curves": curves})
        done = self.grid("mine.study.json")
        self.assertEqual((done.returncode == 0, done.stdout), (False, ""))
        self.assertIn("two begins from weights of one, and the runs of one job file are in no order", done.stderr)

    def test_what_is_refused(self) -> None:
        for arguments, words in (
            (("mine.study.json",), "choose from quick, full"),
            (("mine.study.json", "--size", "quick", "--seeds", "1"), "is a study, which says itself what varies"),
            (("c.json", "--size", "quick", "--seeds", "1", "--out", "o"), "is a config, which has no sizes"),
            (("c.json", "--out", "", "--seeds", "1"), "the value of --out is empty: an unset variable?"),
            (("c.json", "--out", "--seeds", "1"), "needs a value, not the option --seeds"),
            (("c.json", "--out", "o", "--vary", "seed", ""), "one of its values is empty"),
            (("c.json", "--out", "o", "--vary", "model.hidden", "[8]", "oops"), "not all jobs are valid"),
        ):
            done = self.grid(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertIn(words, done.stderr)

    def test_names_that_no_folder_can_have(self) -> None:
        widths = json.dumps(list(range(100, 180)))
        done = self.grid("c.json", "--out", "o", "--vary", "model.hidden", "[8]", widths, "--seeds", "1", "23")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertRegex(
            done.stderr, r"--vary: a run's folder would have a name of 334 characters.*hidden=100_.*_179,seed=23\n"
        )
        self.assertIn("  write a study, ", done.stderr)
        done = self.grid("c.json", "--out", "o\u2028", "--seeds", "1")  # a break of lines to Python alone
        self.assertEqual((done.returncode, done.stdout.count("\n")), (0, 2), done.stderr)
        for path in ("model/hidden", "a{b}"):
            done = self.grid("c.json", "--out", "o", "--vary", path, "1")
            self.assertIn(f"{path}: is no PATH of a field", done.stderr)

    def test_a_program_that_checks_nothing(self) -> None:
        broken = self.write("no program", "broken")
        broken.chmod(0o755)
        for program, said in (
            ("/bin/echo", "Expecting value"),
            (str(broken), "Exec format error"),
            ("/bin/true", "it said nothing"),
        ):
            done = self.grid("c.json", "--out", "o", "--seeds", "1", program=program)
            self.assertEqual((done.returncode, done.stdout), (5, ""), done.stderr)
            self.assertRegex(
                done.stderr, rf"^error: {program}: could not check the jobs.*{said}.*\n  see whether it runs"
            )


if __name__ == "__main__":
    unittest.main()
