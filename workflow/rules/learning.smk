# What is known becomes labels, windows and a network, and the network is judged.


rule labels:
    input:
        seeds=ancient(project.config.labels.seeds or []),
        signoffs=lambda wildcards: signoffs(rounds_before(wildcards.k)),
        reviewed=lambda wildcards: reviewed(rounds_before(wildcards.k)),
    output:
        "<results>/rounds/{k}/labels.parquet",
    log:
        "<logs>/rounds/{k}/labels.log",
    benchmark:
        "<benchmarks>/rounds/{k}/labels.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(30),
    params:
        options=project.options("labels"),
        code=project.code("labels"),
        given=lambda wildcards: given(["seeds"], rounds_before(wildcards.k)),
        seeds=option_if_given("seeds"),
    message:
        "Round {wildcards.k}: labels"
    shell:
        "rts-pipeline labels {input.reviewed} {params.seeds} --out {output}"
        " --options {params.options:q} --code {params.code} 2> {log}"


rule chips:
    input:
        labels="<results>/rounds/{k}/labels.parquet",
        mosaics=lambda wildcards: mosaics_of(project.labelled_cells(wildcards.k)),
    output:
        "<results>/rounds/{k}/chips.parquet",
    log:
        "<logs>/rounds/{k}/chips.log",
    benchmark:
        "<benchmarks>/rounds/{k}/chips.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        options=project.options("chips"),
        code=project.code("chips"),
        fold="",
    message:
        "Round {wildcards.k}: training and validation windows"
    shell:
        "rts-pipeline chips @<(printf '%s\\n' {input.mosaics:q}) --labels {input.labels} {params.fold} --out {output}"
        " --options {params.options:q} --code {params.code} 2> {log}"


if project.adopted:

    ruleorder: adopt > train
    ruleorder: adopt > validate

    rule adopt:
        input:
            **{name: ancient(path) for name, path in project.adopted.items()},
        output:
            weights="<results>/rounds/01/model/weights.pt",
            network="<results>/rounds/01/model/network.onnx",
            model="<results>/rounds/01/model/model.json",
            choice="<results>/rounds/01/validation/validation.json",
        log:
            "<logs>/rounds/01/adopt.log",
        benchmark:
            "<benchmarks>/rounds/01/adopt.tsv"
        conda:
            "../../envs/rts-pipeline.yaml"
        resources:
            mem_mb=memory(1000),
            runtime=minutes(30),
        params:
            options=project.options("adopt"),
            code=project.code("adopt"),
            given=given(project.adopted),
            source=project.config.rounds.adopt,
            folder=subpath(output.model, ancestor=2),
        message:
            "Round 01: another project's network"
        shell:
            "rts-pipeline adopt {params.source:q} --out {params.folder}"
            " --options {params.options:q} --code {params.code} 2> {log}"


rule train:
    input:
        chips="<results>/rounds/{k}/chips.parquet",
        labels="<results>/rounds/{k}/labels.parquet",
        mosaics=lambda wildcards: mosaics_of(project.labelled_cells(wildcards.k)),
        previous=previous_weights,
    output:
        weights="<results>/rounds/{k}/model/weights.pt",
        network="<results>/rounds/{k}/model/network.onnx",
        model="<results>/rounds/{k}/model/model.json",
        metrics="<results>/rounds/{k}/model/metrics.csv",
        curves="<results>/rounds/{k}/model/curves.png",
    log:
        "<logs>/rounds/{k}/train.log",
    benchmark:
        "<benchmarks>/rounds/{k}/train.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    threads: 16
    resources:
        mem_mb=memory(8000),
        runtime=minutes(1440),
        gpu=project.placement.gpus,
        # where to train is no parameter: another machine must not make a network stale
        device=project.placement.device,
        devices=project.placement.devices,
        workers=project.placement.workers,
    params:
        options=project.options("train"),
        code=project.code("train"),
        given=given(project.weights),
        folder=subpath(output.model, parent=True),
        previous=lambda wildcards, input: (
            f"--previous {Path(input.previous).parent}" if input.previous else ""
        ),
    message:
        "Round {wildcards.k}: train the network"
    shell:
        "rts-pipeline train {wildcards.k} @<(printf '%s\\n' {input.mosaics:q}) --chips {input.chips} --labels {input.labels}"
        " {params.previous} --out {params.folder} --device {resources.device} --devices {resources.devices}"
        " --workers {resources.workers} --options {params.options:q} --code {params.code} 2>&1 | tee {log} >&2"


rule quantise:
    input:
        network="<results>/rounds/{k}/model/network.onnx",
        model="<results>/rounds/{k}/model/model.json",
        chips="<results>/rounds/{k}/chips.parquet",
        mosaics=lambda wildcards: mosaics_of(project.labelled_cells(wildcards.k)),
    output:
        structure="<results>/rounds/{k}/model/int8.xml",
        weights="<results>/rounds/{k}/model/int8.bin",
        made="<results>/rounds/{k}/model/int8.json",
    log:
        "<logs>/rounds/{k}/quantise.log",
    benchmark:
        "<benchmarks>/rounds/{k}/quantise.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    threads: 8
    resources:
        mem_mb=memory(4000),
        runtime=minutes(60),
    params:
        options=project.options("quantise"),
        code=project.code("quantise"),
        folder=subpath(input.model, parent=True),
    message:
        "Round {wildcards.k}: the network in int8"
    shell:
        "rts-pipeline quantise @<(printf '%s\\n' {input.mosaics:q}) --model {params.folder} --chips {input.chips}"
        " --options {params.options:q} --code {params.code} 2>&1 | tee {log} >&2"


rule validate:
    input:
        quantised=quantised("<results>/rounds/{k}/model"),
        network="<results>/rounds/{k}/model/network.onnx",
        model="<results>/rounds/{k}/model/model.json",
        chips="<results>/rounds/{k}/chips.parquet",
        labels="<results>/rounds/{k}/labels.parquet",
        mosaics=lambda wildcards: mosaics_of(project.labelled_cells(wildcards.k)),
    output:
        choice="<results>/rounds/{k}/validation/validation.json",
        blocks="<results>/rounds/{k}/validation/blocks.parquet",
        reliability="<results>/rounds/{k}/validation/reliability.png",
        precision_recall="<results>/rounds/{k}/validation/precision_recall.png",
        windows="<results>/rounds/{k}/validation/windows.png",
    log:
        "<logs>/rounds/{k}/validate.log",
    benchmark:
        "<benchmarks>/rounds/{k}/validate.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    threads: 8
    resources:
        mem_mb=memory(4000),
        runtime=minutes(120),
        gpu=project.inference_gpus,
        # as in predict
        device=project.inference.device,
        batch_size=project.inference.batch_size,
    params:
        options=project.options("validate"),
        code=project.code("validate"),
        model=subpath(input.model, parent=True),
        folder=subpath(output.choice, parent=True),
    message:
        "Round {wildcards.k}: judge the network on the blocks kept for it"
    shell:
        "rts-pipeline validate @<(printf '%s\\n' {input.mosaics:q}) --model {params.model} --chips {input.chips} --labels {input.labels}"
        " --out {params.folder} --device {resources.device} --batch-size {resources.batch_size}"
        " --options {params.options:q} --code {params.code} 2>&1 | tee {log} >&2"


# --- cross-validation: each fold from its own windows to figures of its own test blocks; what isn't said is as in a round ---


use rule chips as chips_fold with:
    output:
        "<results>/rounds/{k}/folds/{fold}/chips.parquet",
    log:
        "<logs>/rounds/{k}/folds/{fold}/chips.log",
    benchmark:
        "<benchmarks>/rounds/{k}/folds/{fold}/chips.tsv"
    params:
        options=project.options("folds"),
        fold=lambda wildcards: f"--fold {wildcards.fold}",
    message:
        "Round {wildcards.k}, fold {wildcards.fold}: training, validation and test windows"


use rule train as train_fold with:
    input:
        chips="<results>/rounds/{k}/folds/{fold}/chips.parquet",
        labels="<results>/rounds/{k}/labels.parquet",
        mosaics=lambda wildcards: mosaics_of(project.labelled_cells(wildcards.k)),
        # always from scratch: the last round's network has seen the blocks that are test here
        previous=[],
    output:
        weights="<results>/rounds/{k}/folds/{fold}/model/weights.pt",
        network="<results>/rounds/{k}/folds/{fold}/model/network.onnx",
        model="<results>/rounds/{k}/folds/{fold}/model/model.json",
        metrics="<results>/rounds/{k}/folds/{fold}/model/metrics.csv",
        curves="<results>/rounds/{k}/folds/{fold}/model/curves.png",
    log:
        "<logs>/rounds/{k}/folds/{fold}/train.log",
    benchmark:
        "<benchmarks>/rounds/{k}/folds/{fold}/train.tsv"
    message:
        "Round {wildcards.k}, fold {wildcards.fold}: train the network"


use rule quantise as quantise_fold with:
    input:
        network="<results>/rounds/{k}/folds/{fold}/model/network.onnx",
        model="<results>/rounds/{k}/folds/{fold}/model/model.json",
        chips="<results>/rounds/{k}/folds/{fold}/chips.parquet",
        mosaics=lambda wildcards: mosaics_of(project.labelled_cells(wildcards.k)),
    output:
        structure="<results>/rounds/{k}/folds/{fold}/model/int8.xml",
        weights="<results>/rounds/{k}/folds/{fold}/model/int8.bin",
        made="<results>/rounds/{k}/folds/{fold}/model/int8.json",
    log:
        "<logs>/rounds/{k}/folds/{fold}/quantise.log",
    benchmark:
        "<benchmarks>/rounds/{k}/folds/{fold}/quantise.tsv"
    message:
        "Round {wildcards.k}, fold {wildcards.fold}: the network in int8"


use rule validate as validate_fold with:
    input:
        quantised=quantised("<results>/rounds/{k}/folds/{fold}/model"),
        network="<results>/rounds/{k}/folds/{fold}/model/network.onnx",
        model="<results>/rounds/{k}/folds/{fold}/model/model.json",
        chips="<results>/rounds/{k}/folds/{fold}/chips.parquet",
        labels="<results>/rounds/{k}/labels.parquet",
        mosaics=lambda wildcards: mosaics_of(project.labelled_cells(wildcards.k)),
    output:
        choice="<results>/rounds/{k}/folds/{fold}/validation/validation.json",
        blocks="<results>/rounds/{k}/folds/{fold}/validation/blocks.parquet",
        reliability="<results>/rounds/{k}/folds/{fold}/validation/reliability.png",
        precision_recall="<results>/rounds/{k}/folds/{fold}/validation/precision_recall.png",
        windows="<results>/rounds/{k}/folds/{fold}/validation/windows.png",
    log:
        "<logs>/rounds/{k}/folds/{fold}/validate.log",
    benchmark:
        "<benchmarks>/rounds/{k}/folds/{fold}/validate.tsv"
    message:
        "Round {wildcards.k}, fold {wildcards.fold}: judge the network on the fold's test blocks"


rule crossvalidate:
    input:
        expand(
            "<results>/rounds/{{k}}/folds/{fold}/validation/blocks.parquet",
            fold=range(project.config.chips.folds),
        ),
    output:
        scores="<results>/rounds/{k}/crossvalidation.json",
        figure="<results>/rounds/{k}/crossvalidation.png",
    log:
        "<logs>/rounds/{k}/crossvalidate.log",
    benchmark:
        "<benchmarks>/rounds/{k}/crossvalidate.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        options=project.options("crossvalidate"),
        code=project.code("crossvalidate"),
    message:
        "Round {wildcards.k}: figures of all folds' test blocks"
    shell:
        "rts-pipeline crossvalidate {input} --out {output.scores} --out-figure {output.figure}"
        " --options {params.options:q} --code {params.code} 2> {log}"
