"""`trainer`: from labelled messages to a bundle. Each command is a thin shell around one module."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, get_args

import typer

from filterd import version
from filterd.api import Kind
from filterd.errors import ConfigError, FilterdError

SOURCE = "Only messages of this input; repeatable."
WITHOUT = "Another dataset, whose training and validation texts are left out; repeatable."

app = typer.Typer(
    help="Train, evaluate and export the models that filterd judges with.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data = typer.Typer(help="Fetch and prepare labelled messages.", no_args_is_help=True)
weights = typer.Typer(help="Fetch and verify pretrained GPT-2 weights.", no_args_is_help=True)
app.add_typer(data, name="data")
app.add_typer(weights, name="weights")
distill = typer.Typer(
    help="Hand down what a large language model knows to a small one.", no_args_is_help=True
)
app.add_typer(distill, name="distill")


@app.callback()
def options(version: Annotated[bool, version.option("trainer")] = False) -> None:
    """Train, evaluate and export the models that filterd judges with."""


@data.command("fetch")
def data_fetch(
    out: Annotated[Path, typer.Option(help="Folder to put it in.")] = Path("data"),
    source: Annotated[
        Path | None, typer.Option("--from", help="The zip, the file or their folder, instead of a download.")
    ] = None,
    url: Annotated[str, typer.Option(help="Another place to download the zip from.")] = "",
) -> None:
    """Get the UCI SMS Spam Collection, check its hash and unpack it."""
    from rich.console import Console

    from filterd_trainer.data import fetch, prepare

    with prepare.progress(Console(stderr=True)) as report:
        file = fetch.fetch(out, report, source, url or fetch.URL)
    typer.echo(f"{file}  sha256 {fetch.SHA256}")


@data.command("own")
def data_own(
    out: Annotated[Path, typer.Option(help="JSON lines, an --input of `data prepare`.")],
    count: Annotated[int, typer.Option(help="Messages.")] = 24_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same messages.")] = 123,
    holdout: Annotated[
        bool, typer.Option("--holdout", help="Of the tenth of the templates that never trains.")
    ] = False,
) -> None:
    """Write messages of our own, from hand-written templates."""
    from filterd_trainer.data import templates

    typer.echo(f"{out}: {templates.write(out, templates.generate(count, seed, holdout=holdout)):,} messages")


@data.command("stats")
def data_stats(
    where: Annotated[
        list[str] | None, typer.Argument(help="A dataset, or inputs of `data prepare`; by default data.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write classes.png and lengths.png there.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Of the batches that are counted.")] = 8,
) -> None:
    """Count classes and lengths, and say what the batches of a dataset look like."""
    from rich.console import Console

    from filterd_trainer.data import prepare, stats
    from filterd_trainer.data.corpus import MANIFEST, Dataset
    from filterd_trainer.evaluation import plots

    inputs, console = where or ["data"], Console(highlight=False)
    if len(inputs) == 1 and (Path(inputs[0]) / MANIFEST).is_file():
        splits = stats.of_dataset(Dataset.load(Path(inputs[0])))
        stats.show_batches(splits, console, batch_size)
        found = splits["train"]
    else:
        with prepare.progress(Console(stderr=True)) as report:
            found = stats.of_inputs(inputs, report)
    stats.show(found, console)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "classes.png").write_bytes(plots.classes(found.counts))
        (out / "lengths.png").write_bytes(plots.lengths(found.tokens))
        typer.echo(f"{out / 'classes.png'}\n{out / 'lengths.png'}")


@data.command("items")
def data_items(
    dataset: Annotated[Path, typer.Option("--data", help="A dataset of `trainer data prepare`.")],
    messages: Annotated[int, typer.Option(min=50, help="Of each source and label, at most.")] = 200,
) -> None:
    """Say what each item of a mail's head tells by itself, and what sources left out lose without it."""
    from rich.console import Console

    from filterd_trainer.data.corpus import Dataset
    from filterd_trainer.evaluation import items

    of = Dataset.load(dataset)
    of.task.only_spam("trainer data items")
    items.show(Console(highlight=False), items.run(of, messages))


@data.command("prepare")
def data_prepare(
    out: Annotated[Path, typer.Option(help="The dataset's folder.")],
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="PATH or NAME=PATH; repeatable. By default data.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="grouped (ours), lecture or lecture-slide.")] = "grouped",
    task: Annotated[
        str, typer.Option(help="spam, classes, hierarchical, multilabel or regression: what a label is.")
    ] = "spam",
    form: Annotated[
        str, typer.Option("--format", help="auto, csv, tsv, jsonl, parquet, mails, mbox or maildir.")
    ] = "auto",
    label_column: Annotated[
        str, typer.Option(help="Name or, from 1, number; several with commas; a usual name is found.")
    ] = "",
    text_column: Annotated[str, typer.Option(help="The same for the text.")] = "",
    delimiter: Annotated[str, typer.Option(help="Of a table: comma, semicolon, tab, bar or a mark.")] = "",
    encoding: Annotated[str, typer.Option(help="Of a table, as in cp1252; else it is found.")] = "",
    kind: Annotated[str, typer.Option(help="auto, mail or sms.")] = "auto",
    labels: Annotated[
        list[str] | None, typer.Option("--label", help="OLD=NEW for a folder, file or value; repeatable.")
    ] = None,
    ham: Annotated[list[str] | None, typer.Option(help="A label that counts as ham; repeatable.")] = None,
    hold_out: Annotated[
        list[Path] | None, typer.Option(help="A table whose texts are left out, such as a test.csv.")
    ] = None,
    test_source: Annotated[str, typer.Option(help="The input whose messages are the test part.")] = "",
    rules: Annotated[
        str, typer.Option(help="Rows left out: public, for the public sources, or a YAML file.")
    ] = "",
    traps: Annotated[
        Path | None, typer.Option(help="Marks to take out; by default traps.json beside an input.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that read messages.")] = 1,
    envelopes: Annotated[
        bool, typer.Option("--envelopes", help="Half of the mails without headers get invented ones.")
    ] = False,
    calibrate_source: Annotated[
        list[str] | None, typer.Option(help="An input that only calibrates; repeatable.")
    ] = None,
) -> None:
    """Split labelled messages into train, validation and test, and say what leaks."""
    from rich.console import Console

    from filterd_trainer.data import prepare

    request = prepare.PrepareRequest(
        inputs=inputs or ["data"],
        out=out,
        recipe=recipe,
        task=task,
        format=form,
        label_column=label_column,
        text_column=text_column,
        delimiter=delimiter,
        encoding=encoding,
        kind=kind,
        labels=labels or (),
        ham=ham or (),
        hold_out=hold_out or (),
        test_source=test_source,
        rules=rules,
        traps=traps,
        jobs=jobs,
        envelopes=envelopes,
        calibrate_sources=calibrate_source or (),
    )
    with prepare.progress(Console(stderr=True)) as report:
        dataset, losses = prepare.prepare(request, report)
    prepare.show(Console(highlight=False), dataset, losses)


@weights.command("fetch")
def weights_fetch(
    size: Annotated[str, typer.Argument(help="gpt2 (or 124M), gpt2-medium, gpt2-large or gpt2-xl.")] = "gpt2",
    out: Annotated[Path | None, typer.Option(help="Folder; by default below ~/.cache/filterd.")] = None,
) -> None:
    """Download OpenAI's GPT-2 from the hub and record the hashes."""
    from filterd_trainer.gpt2 import weights

    folder = out or weights.default_folder(weights.called(size))
    hashes = weights.fetch(size, folder)
    typer.echo(f"{folder}: {hashes.source} at {hashes.revision}")
    for name, entry in hashes.files.items():
        typer.echo(f"  {entry.sha256}  {entry.bytes:>13,}  {name}")


@weights.command("verify")
def weights_verify(
    size: Annotated[str, typer.Argument(help="A size that was fetched.")] = "gpt2",
    source: Annotated[Path | None, typer.Option("--from", help="A folder with weights instead.")] = None,
) -> None:
    """Check the hashes, let the model write on, and ask it the lecture's question."""
    from filterd_trainer.gpt2 import weights

    folder = weights.find(str(source or size))
    typer.echo(weights.describe(folder))
    for prompt, written in weights.verify(weights.load(folder), weights.tokenizer(folder)):
        typer.echo(f"\n{prompt}\n→ {written.strip()}")


@app.command("train")
def train_command(
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    data_folder: Annotated[Path | None, typer.Option("--data", help="A dataset of `data prepare`.")] = None,
    recipe_name: Annotated[
        str,
        typer.Option("--recipe", help="lecture, gpt2, mini, sms, more, short, strategies or a file."),
    ] = "mini",
    base: Annotated[
        str | None, typer.Option(help="gpt2, default (what ships), filterd-mini, or a folder.")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="head, last_block, last_two_blocks, blocks:0,8-11, all, lora, adapters, prefix or prompt."
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="LoRA's rank, an adapter's units, positions of a prefix or prompt.")
    ] = None,
    layer_decay: Annotated[
        float | None, typer.Option(help="A layer's rate is the one above it times this.")
    ] = None,
    unfreeze: Annotated[
        int | None,
        typer.Option(help="Blocks that thaw after each epoch; the first trains the head and final norm."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training part.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Messages a step.")] = None,
    at_once: Annotated[int | None, typer.Option(help="Of them, through the model together; 0: all.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--lr", help="AdamW's.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="AdamW's.")] = None,
    dropout: Annotated[float | None, typer.Option(help="In the blocks that train.")] = None,
    warmup: Annotated[float | None, typer.Option(help="Share of the steps.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Cut there; 0: the longest of training.")] = None,
    windows: Annotated[int | None, typer.Option(help="Windows of a longer message that train.")] = None,
    balance: Annotated[str | None, typer.Option(help="none, label, kind, source or root.")] = None,
    augment: Annotated[int | None, typer.Option(help="Changed copies of each message that train.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, bf16 or auto: what is faster.")] = None,
    eval_freq: Annotated[int | None, typer.Option(help="Steps between evaluations; 0: epochs.")] = None,
    eval_iter: Annotated[int | None, typer.Option(help="Batches an evaluation takes; 0: all.")] = None,
    patience: Annotated[int | None, typer.Option(help="Evaluations without gain before it stops.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same weights.")] = 123,
    device: Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")] = "auto",
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out as it was begun.")] = False,
) -> None:
    """Fine-tune a classifier; what is not given here is as the recipe says."""
    from filterd_trainer.data.corpus import Dataset
    from filterd_trainer.training import recipe, runs

    if resume:
        begun = runs.read_config(out)
        folder, wanted, seed = data_folder or Path(begun.data), begun.recipe, begun.seed
    elif data_folder is None:
        raise typer.BadParameter("name a dataset", param_hint="--data")
    else:
        folder = data_folder
        wanted = recipe.load(
            recipe_name,
            base=base,
            strategy=strategy,
            size=size,
            layer_decay=layer_decay,
            unfreeze=unfreeze,
            epochs=epochs,
            batch_size=batch_size,
            at_once=at_once,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            dropout=dropout,
            warmup=warmup,
            max_tokens=max_tokens,
            windows=windows,
            balance=balance,
            augment=augment,
            precision=precision,
            eval_freq=eval_freq,
            eval_iter=eval_iter,
            patience=patience,
        )
    dataset = Dataset.load(folder)
    runs.train(dataset, folder, out, wanted, seed=seed, on=device, resume=resume, tell=typer.echo)


@app.command("pretrain")
def pretrain_command(
    out: Annotated[Path, typer.Option(help="The run's folder; in the end a base for `train`.")],
    text: Annotated[list[Path] | None, typer.Option(help=".txt or .jsonl, also .xz; repeatable.")] = None,
    base: Annotated[str | None, typer.Option(help="An architecture, or weights to go on from.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget in time of training.")] = None,
    steps: Annotated[int | None, typer.Option(help="Budget in steps; repeatable to the bit.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--lr", help="AdamW's, at its highest.")] = None,
    batch_tokens: Annotated[int | None, typer.Option(help="Tokens a step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights and order.")] = None,
    device: Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")] = "auto",
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out as it was begun.")] = False,
) -> None:
    """Teach a small GPT-2 the language of some text, from scratch."""
    from filterd_trainer.pretraining import pretrain

    if resume:
        settings, files = pretrain.read_settings(out)
    elif not text:
        raise typer.BadParameter("name a text file", param_hint="--text")
    else:
        files = text
        settings = pretrain.settings(
            base=base,
            minutes=minutes,
            steps=steps,
            learning_rate=learning_rate,
            batch_tokens=batch_tokens,
            seed=seed,
        )
    pretrain.pretrain(files, out, settings, on=device, resume=resume, tell=typer.echo)


@distill.command("texts")
def distill_texts(
    out: Annotated[Path, typer.Option(help="JSON lines with a text each.")],
    dataset: Annotated[Path, typer.Option("--data", help="A grouped dataset; its training part is read.")],
    prose: Annotated[Path | None, typer.Option(help="Any text, .txt or .jsonl, also .xz.")] = None,
    messages: Annotated[int, typer.Option(help="Of the dataset.")] = 100_000,
    passages: Annotated[int, typer.Option(help="Of prose.")] = 24_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same texts.")] = 123,
) -> None:
    """Gather the texts that a student will read, cut to many lengths."""
    from filterd_trainer.data.corpus import Dataset
    from filterd_trainer.pretraining import texts

    count = texts.mix(out, Dataset.load(dataset), prose, (messages, passages), seed)
    typer.echo(f"{out}: {count:,} texts")


@distill.command("features")
def distill_features(
    teacher: Annotated[Path, typer.Option(help="A GGUF file, or a folder in the hub's layout.")],
    texts_file: Annotated[Path, typer.Option("--texts", help="What `distill texts` wrote.")],
    out: Annotated[Path, typer.Option(help="The features' folder; parts that are there stay.")],
    share: Annotated[str, typer.Option(help="2/3: the second third, for processes side by side.")] = "1/1",
) -> None:
    """Let a teacher read the texts, and keep what it made of every beginning of each."""
    from filterd.scoring import bundle
    from filterd.scoring.tokenizer import Tokenizer
    from filterd_trainer.pretraining import teacher as teaching
    from filterd_trainer.pretraining import texts

    tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
    teaching.compute(
        teaching.Teacher.load(teacher), tokenizer, texts.read(texts_file), out, typer.echo, share
    )


@distill.command("student")
def distill_student(
    out: Annotated[Path, typer.Option(help="The run's folder; in the end a base for `train`.")],
    features: Annotated[list[Path], typer.Option(help="A folder of `distill features`; repeatable.")],
    teacher: Annotated[
        Path | None, typer.Option(help="Whose token table a fresh student begins with.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="An architecture, or weights to go on from.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget in time of training.")] = None,
    steps: Annotated[int | None, typer.Option(help="Budget in steps; repeatable to the bit.")] = None,
    learning_rate: Annotated[float, typer.Option("--lr", help="AdamW's, at its highest.")] = 1.5e-3,
    batch_tokens: Annotated[int, typer.Option(help="Tokens a step.")] = 4096,
    seed: Annotated[int | None, typer.Option(help="Of weights and order.")] = None,
    device: Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")] = "auto",
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out as it was begun.")] = False,
) -> None:
    """Teach a small GPT-2 what the teacher made of the texts."""
    from filterd_trainer.pretraining import pretrain
    from filterd_trainer.pretraining import student as students

    settings = (
        pretrain.read(out)
        if resume
        else pretrain.settings(
            base=base,
            minutes=minutes,
            steps=steps,
            learning_rate=learning_rate,
            batch_tokens=batch_tokens,
            seed=seed,
        )
    )
    students.distil(features, out, settings, teacher=teacher, on=device, resume=resume, tell=typer.echo)


@app.command("active")
def active_command(
    messages: Annotated[list[Path], typer.Argument(help="Maildirs, mboxes or folders of mails.")],
    model: Annotated[Path | None, typer.Option("--bundle", help="Without it the one in use.")] = None,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Messages to ask about.")] = 20,
    listed: Annotated[bool, typer.Option("--list", help="Print them and ask nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same, an object a line.")] = False,
) -> None:
    """Ask for the labels that would teach most, one key each; answers are corrections."""
    from filterd_trainer import active

    active.run(messages, model, count, listed=listed, as_json=as_json)


@app.command("average")
def average_command(
    models: Annotated[list[Path], typer.Argument(help="Runs that differ by their seed alone.")],
    out: Annotated[Path, typer.Option(help="Folder of the new run.")],
) -> None:
    """Make one run of several: the mean of their weights."""
    from filterd_trainer.training import average as averaging

    config = averaging.average(models, out)
    typer.echo(f"{out}: the mean of seeds {', '.join(map(str, config.averaged))}")


@app.command("evaluate")
def evaluate_command(
    models: Annotated[list[Path], typer.Argument(help="Runs or bundles; several: their mean and spread.")],
    dataset: Annotated[Path, typer.Option("--data", help="A dataset of `trainer data prepare`.")],
    split: Annotated[str, typer.Option(help="Which part of it.")] = "test",
    source: Annotated[list[str] | None, typer.Option(help=SOURCE)] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only messages of this kind.")] = None,
    without: Annotated[list[Path] | None, typer.Option(help=WITHOUT)] = None,
    out: Annotated[Path | None, typer.Option(help="Write metrics.json, plots and report.html there.")] = None,
    misjudged: Annotated[
        int, typer.Option(min=0, help="Print so many misjudged messages, surest first.")
    ] = 0,
    by: Annotated[
        list[str] | None, typer.Option(help="Labels by language, kind, source, year or length; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Figures as JSON instead of tables.")] = False,
) -> None:
    """Judge a split, or some of it, and show how good the model is, with intervals."""
    from rich.console import Console

    from filterd_trainer.evaluation import judge, pages, strata
    from filterd_trainer.evaluation.scores import SplitScores

    only = judge.MessageFilter(source or (), kind, without or ())
    subject = judge.EvaluationSplit.load(dataset, split, only)
    if by:
        subject.dataset.task.only_spam("--by")
    record, scored, histories = judge.evaluate_models(models, subject)
    pages.show_evaluation(record, as_json)
    if misjudged and not as_json:
        pages.show_misjudged(scored[0], subject.frame["Text"].tolist(), misjudged)
    for what in by or ():
        for one in (some for some in scored if isinstance(some, SplitScores)):
            strata.show(Console(highlight=False, stderr=as_json), what, strata.by(one, subject.frame, what))
    if out:
        pages.write_evaluation(out, record, scored, histories)
        typer.echo(f"{out / 'report.html'}", err=as_json)


@app.command("left-out")
def left_out_command(
    dataset: Annotated[Path, typer.Option("--data", help="A dataset of `trainer data prepare`.")],
    reader: Annotated[
        str,
        typer.Option(help="ngrams, a run or bundle, or a teacher's GGUF: what a cheap model is fitted to."),
    ] = "ngrams",
    balance: Annotated[str, typer.Option(help="Equal shares: source, label or none.")] = "source",
    messages: Annotated[int, typer.Option(min=50, help="Of each source, kind and label, at most.")] = 400,
    head: Annotated[bool, typer.Option(help="Show the reader who sent a mail.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a source.")] = False,
) -> None:
    """Leave out each source whole, fit a cheap model to the others, and judge it: which recipe is better."""
    import json
    from dataclasses import asdict

    from rich.console import Console

    from filterd_trainer.data.corpus import Dataset
    from filterd_trainer.evaluation import left_out

    of = Dataset.load(dataset)
    of.task.only_spam("trainer left-out")
    found = left_out.run(of, reader, balance, messages, head=head)
    if as_json:
        for one in found:
            typer.echo(json.dumps(asdict(one)))
    else:
        left_out.show(Console(highlight=False), found)


@app.command("compare")
def compare_command(
    dataset: Annotated[Path, typer.Option("--data", help="A dataset of `trainer data prepare`.")],
    models: Annotated[list[Path] | None, typer.Option("--run", help="A run or a bundle; repeatable.")] = None,
    split: Annotated[str, typer.Option(help="Which part of it.")] = "test",
    out: Annotated[Path | None, typer.Option(help="Write comparison.json and .html there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Figures as JSON instead of tables.")] = False,
) -> None:
    """Put the model beside naive Bayes, a linear SVM and character n-grams, on the same split."""
    from filterd_trainer.evaluation import judge, pages

    record, scored = judge.compare_models(models or [], judge.EvaluationSplit.load(dataset, split))
    pages.show_comparison(record, as_json)
    if out:
        pages.write_comparison(out, record, scored)
        typer.echo(f"{out / 'comparison.html'}", err=as_json)


@app.command("beside")
def beside_command(
    dataset: Annotated[Path, typer.Option("--data", help="A dataset of `trainer data prepare`.")],
    out: Annotated[Path, typer.Option(help="A result a row; stopped, the same command goes on.")],
    models: Annotated[list[Path] | None, typer.Option("--run", help="A run or a bundle; repeatable.")] = None,
    encoders: Annotated[
        list[Path] | None,
        typer.Option("--encoder", help="A BERT's folder, frozen and fine-tuned; repeatable."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="One row by its name; repeatable.")] = None,
) -> None:
    """Fit classifiers of other kinds, and put accuracy, time, size and latency of all in one table."""
    from filterd.progress import bar
    from filterd_trainer.evaluation import pages
    from filterd_trainer.evaluation.beside import table

    request = table.BesideRequest(
        data=dataset, out=out, models=models or (), encoders=encoders or (), only=only or ()
    )
    with bar("Rows", len(table.makers(request))) as advance:
        rows = table.run(request, lambda line: typer.echo(line, err=True), advance)
    pages.print_tables({f"{dataset}, split “{table.SPLIT}”": table.table(rows)}, [table.NOTE])


@app.command("strategies")
def strategies_command(
    dataset: Annotated[Path, typer.Option("--data", help="A dataset of `trainer data prepare`.")],
    base: Annotated[str, typer.Option(help="What each begins from, as in `trainer train`.")],
    out: Annotated[Path, typer.Option(help="A result a run; stopped, the same command goes on.")],
    methods: Annotated[
        list[str] | None, typer.Option("--only", help="One strategy, such as blocks:3-5; repeatable.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Runs of each strategy.")] = 5,
    rates: Annotated[
        list[float] | None, typer.Option("--lr", help="Rates that validation chooses from; repeatable.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Of each run; without it the recipe's.")] = None,
    recipe: Annotated[str, typer.Option(help="A recipe's name or YAML file.")] = "strategies",
) -> None:
    """Train with every strategy and put accuracy, parameters, time and memory in one table."""
    from filterd.progress import bar
    from filterd_trainer.evaluation import pages, strategies

    request = strategies.StrategyRequest(
        data=dataset,
        out=out,
        base=base,
        seeds=seeds,
        methods=methods or (),
        rates=rates or strategies.RATES,
        epochs=epochs,
        recipe=recipe,
    )
    with bar("Runs", strategies.count(request)) as advance:
        runs = strategies.run(request, lambda line: typer.echo(line, err=True), advance)
    pages.print_tables({f"{base} on {dataset}": strategies.table(runs)}, [])


@app.command("measure")
def measure_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle; its fast path is used where it has one.")],
    messages: Annotated[int, typer.Option(min=10, max=10_000, help="Of each kind, of our own.")] = 200,
    threads: Annotated[int, typer.Option(min=0, max=256, help="Of one judgement; 0: one a core.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Figures as JSON instead of tables.")] = False,
) -> None:
    """Say what a judgement costs: latency, throughput, memory, size, and energy where the machine tells."""
    from filterd_trainer.evaluation import measure, pages

    cost = measure.of_bundle(bundle, threads=threads, messages=messages)
    if as_json:
        typer.echo(pages.encoded(cost).decode(), nl=False)
    else:
        pages.print_tables(measure.tables(cost), measure.NOTES)


@app.command("score")
def score_command(
    files: Annotated[
        list[Path], typer.Argument(metavar="INPUT…", help="Tables, JSON lines, mboxes, Maildirs, folders.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the parts; the same command goes on where it ended.")],
    form: Annotated[str, typer.Option("--form", help="jsonl, csv or parquet.")] = "jsonl",
    bundle: Annotated[Path | None, typer.Option(help="Another bundle than the one in use.")] = None,
    processes: Annotated[int, typer.Option(min=0, max=4096, help="0: one a core.")] = 0,
    ray: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Of a Ray cluster that is to judge: auto, HOST:PORT, local."),
    ] = "",
) -> None:
    """Judge stored messages by the million: id, label, probability, points, classes, error.

    Exit status: 0 done; 66 an input is not there; 69 no model; 75 a process died, the same command goes on;
    78 the folder was begun with other inputs, or there is no cluster.
    """
    import os

    from filterd import judge
    from filterd.progress import bar
    from filterd_trainer.bulk import score as scoring

    written = next((one for one in get_args(scoring.Form) if one == form), None)
    if written is None:
        raise typer.BadParameter("jsonl, csv or parquet", param_hint="--form")
    path = bundle or judge.bundle_path(judge.configuration(lambda line: typer.echo(line, err=True)))
    cores = processes or len(os.sched_getaffinity(0))
    with bar("Scoring", None) as advance:
        if ray:
            from filterd_trainer.bulk import cluster

            counts = cluster.run(
                files, out, path=path, address=ray, processes=processes, form=written, advance=advance
            )
        else:
            counts = scoring.score(files, out, path=path, processes=cores, form=written, advance=advance)
    typer.echo(", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "nothing there")


@app.command("attack")
def attack_command(
    model: Annotated[Path, typer.Argument(help="A bundle.")],
    dataset: Annotated[Path, typer.Option("--data", help="A dataset of `trainer data prepare`.")],
    split: Annotated[str, typer.Option(help="Which part of it.")] = "test_natural",
    out: Annotated[Path | None, typer.Option(help="Write attack.json, .html and plots there.")] = None,
    messages: Annotated[int, typer.Option(min=1, help="Of each kind and label, at most.")] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Figures as JSON instead of tables.")] = False,
) -> None:
    """Disguise held-out spam in every way spammers do and show how much recall is left."""
    from filterd_trainer.evaluation import attack as attacking
    from filterd_trainer.evaluation import attack_page, judge

    def told(line: str) -> None:
        typer.echo(line, err=True)

    subject = judge.EvaluationSplit.load(dataset, split)
    subject.dataset.task.only_spam("trainer attack")
    record = attacking.attack(model, subject, messages, told)
    attack_page.show(record, as_json)
    if out:
        attack_page.write(out, record)
        typer.echo(f"{out / 'attack.html'}", err=as_json)


@app.command("export")
def export_command(
    run: Annotated[Path, typer.Argument(help="A run of `trainer train`.")],
    dataset: Annotated[Path, typer.Option("--data", help="The dataset it was trained on.")],
    out: Annotated[Path, typer.Option(help="The bundle's folder; an old one is replaced.")],
    name: Annotated[str, typer.Option(help="Of the model; by default the folder's.")] = "",
    quantization: Annotated[str, typer.Option(help="int8, or fp32 (for CUDA).")] = "int8",
    max_tokens: Annotated[int, typer.Option(help="Of a window; 0: as in training.")] = 0,
    max_windows: Annotated[int, typer.Option(help="Of a longer message.")] = 3,
    fast_path: Annotated[bool, typer.Option(help="Find what the wide half may settle alone.")] = True,
    wide: Annotated[bool, typer.Option(help="Fit a linear half that judges beside the GPT-2.")] = True,
    wide_with: Annotated[
        Path | None,
        typer.Option(help="A bundle, or default; the linear half is the mean of its and the fitted one."),
    ] = None,
    wide_of: Annotated[
        Path | None,
        typer.Option(help="A bundle, or default; its linear half is taken, weighed on --calibrate-on."),
    ] = None,
    calibrate_on: Annotated[
        str, typer.Option(help="A split of sources left out, such as calibration, to fit probabilities to.")
    ] = "",
    origin: Annotated[
        list[str] | None,
        typer.Option(help="A model that it derives from, with its licence; repeatable."),
    ] = None,
) -> None:
    """Make a bundle of a run: ONNX, quantised, calibrated, compared with PyTorch, and measured."""
    from filterd_trainer.export import export
    from filterd_trainer.export.assembly import ExportRequest

    request = ExportRequest(
        run=run,
        data=dataset,
        out=out,
        name=name,
        quantization=quantization,
        max_tokens=max_tokens,
        max_windows=max_windows,
    )
    request = replace(request, fast_path=fast_path, wide=wide, wide_with=wide_with, calibrate_on=calibrate_on)
    request = replace(request, wide_of=wide_of, origins=tuple(origin or ()))
    made = export.export(request, lambda line: typer.echo(line, err=True))
    typer.echo(f"{made.path}: {made.id}")


@app.command("card")
def card_command(
    bundle: Annotated[Path, typer.Argument(help="The bundle; its card and manifest are written anew.")],
    dataset: Annotated[Path, typer.Option("--data", help="A dataset of `trainer data prepare`.")],
    split: Annotated[str, typer.Option(help="Which part of it; nothing may have been fitted to it.")],
    source: Annotated[list[str] | None, typer.Option(help=SOURCE)] = None,
    without: Annotated[list[Path] | None, typer.Option(help=WITHOUT)] = None,
    seed: Annotated[
        list[Path] | None, typer.Option(help="Bundles of other seeds, for mean and spread; repeatable.")
    ] = None,
) -> None:
    """Measure a bundle on held-out messages and put the figures, by kind, into its model card."""
    from filterd_trainer.evaluation import judge
    from filterd_trainer.export import measure

    subject = judge.EvaluationSplit.load(
        dataset, split, judge.MessageFilter(source or (), None, without or ())
    )
    subject.dataset.task.only_spam("trainer card")
    made = measure.put(bundle, subject, seed or (), lambda line: typer.echo(line, err=True))
    typer.echo(f"{made.path}: {made.id}")


@app.command("retrain")
def retrain_command(
    config: Annotated[
        Path | None, typer.Option(envvar="FILTERD_CONFIG", help="filterd.yaml; by default the system's.")
    ] = None,
    feedback: Annotated[
        str, typer.Option(help="The corrections: a URL, a database or an export; else the daemon's.")
    ] = "",
    bundle: Annotated[
        str, typer.Option(help="What to start from: current, or a bundle's folder.")
    ] = "current",
    rehearsal: Annotated[
        list[str] | None, typer.Option(help="Labelled messages not to get worse at; repeatable.")
    ] = None,
    strategy: Annotated[str, typer.Option(help="auto, wide or head.")] = "auto",
    promotion: Annotated[str | None, typer.Option(help="immediate, shadow or manual.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder of runs; by default in the state folder.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same model.")] = 123,
    as_json: Annotated[bool, typer.Option("--json", help="The outcome as one JSON object.")] = False,
) -> None:
    """Make a model of the corrections; promote it only if it is better. Exit status 0 either way."""
    from filterd_trainer.retraining import lock

    lock.step_back()  # before PyTorch starts its threads
    from filterd_trainer.retraining import options as retraining

    options = retraining.RetrainOptions(
        feedback=feedback,
        bundle=bundle,
        rehearsal=rehearsal,
        strategy=strategy,
        promotion=promotion,
        runs=runs,
        seed=seed,
    )
    raise typer.Exit(retraining.run(options, config, as_json))


@app.command("simulate")
def simulate_command(
    context: typer.Context,
    inputs: Annotated[
        list[str], typer.Option("--input", help="PATH or NAME=PATH of labelled mails; repeatable.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the results; stopped, the same command goes on.")],
    model: Annotated[Path | None, typer.Option("--bundle", help="Without it the one that ships.")] = None,
    dataset: Annotated[
        Path | None, typer.Option("--data", help="What the bundle was trained on; only its test parts run.")
    ] = None,
    messages: Annotated[int, typer.Option(help="Of the stream; 0: all there are.")] = 0,
    clean: Annotated[float, typer.Option(help="Share that is set aside, no near-duplicate streamed.")] = 0.15,
    day: Annotated[int, typer.Option(help="Messages a day: so much later a correction comes.")] = 250,
    every: Annotated[int, typer.Option(help="Messages between two retrainings.")] = 500,
    corrects: Annotated[float, typer.Option(help="Share of the errors that the user corrects.")] = 0.3,
    wrong: Annotated[float, typer.Option(help="Share of the corrections that are wrong.")] = 0.02,
    hostile: Annotated[float, typer.Option(help="Share of corrections in the hostile runs.")] = 0.1,
    only: Annotated[
        list[str] | None, typer.Option(help="A run by its name instead of all; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same days.")] = 123,
    as_online: Annotated[
        bool,
        typer.Option("--online", help="In the order of dates, mail by mail: what learning at once does."),
    ] = False,
    modes: Annotated[
        list[str] | None,
        typer.Option("--mode", help="With --online: all, errors, late or wrong instead of each; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The record as JSON instead of tables.")] = False,
) -> None:
    """Replay a corpus as a site's mail: what memory and retraining do for it, and what hostile users can."""
    from filterd.scoring import bundle

    others = {"modes": "--mode"} if not as_online else {"dataset": "--data"}
    others |= {name: f"--{name}" for name in ("clean", "every", "hostile")} if as_online else {}
    for name, option in others.items():
        source = context.get_parameter_source(name)
        if source and source.name == "COMMANDLINE":
            raise ConfigError(f"{option} means nothing {'with' if as_online else 'without'} --online")
    if as_online:
        from filterd_trainer.simulation import online, online_pages

        how = online.OnlineSettings(messages=messages, day=day, corrects=corrects, wrong=wrong, seed=seed)
        asked = online.OnlineRequest(
            inputs=inputs,
            bundle=model or bundle.DEFAULT,
            out=out,
            settings=how,
            modes=modes or (),
            only=only or (),
        )
        online_pages.run(asked, as_json)
    else:
        from filterd_trainer.simulation import simulate
        from filterd_trainer.simulation.stream import StreamSettings

        settings = StreamSettings(
            messages=messages,
            clean=clean,
            day=day,
            every=every,
            corrects=corrects,
            wrong=wrong,
            hostile=hostile,
            seed=seed,
        )
        request = simulate.SimulateRequest(
            inputs, model or bundle.DEFAULT, out, settings, dataset, only or ()
        )
        simulate.run(request, as_json)


def main() -> None:
    """Entry point: errors of ours become one line and their exit status."""
    try:
        app(standalone_mode=True)
    except FilterdError as error:
        print(f"trainer: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
