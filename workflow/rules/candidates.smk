# The network's answer for every pixel, as candidates with evidence for the reviewers.


rule predict:
    input:
        quantised=quantised("<results>/rounds/{k}/model"),
        network="<results>/rounds/{k}/model/network.onnx",
        model="<results>/rounds/{k}/model/model.json",
        mosaics=lambda wildcards: mosaics_of(project.cells_near(wildcards.block)),
    output:
        "<results>/rounds/{k}/probability/{block}.tif",
    log:
        "<logs>/rounds/{k}/predict/{block}.log",
    benchmark:
        "<benchmarks>/rounds/{k}/predict/{block}.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    threads: 8
    resources:
        mem_mb=memory(4000),
        runtime=minutes(120),
        gpu=project.inference_gpus,
        # where to predict is no parameter: another machine must not make probabilities stale
        device=project.inference.device,
        batch_size=project.inference.batch_size,
    params:
        options=project.options("predict"),
        code=project.code("predict"),
        folder=subpath(input.model, parent=True),
    message:
        "Round {wildcards.k}: predict block {wildcards.block}"
    shell:
        "rts-pipeline predict {wildcards.block} {input.mosaics} --model {params.folder} --out {output}"
        " --device {resources.device} --batch-size {resources.batch_size}"
        " --options {params.options:q} --code {params.code} 2>&1 | tee {log} >&2"


rule polygonize:
    input:
        probability="<results>/rounds/{k}/probability/{block}.tif",
        choice="<results>/rounds/{k}/validation/validation.json",
    output:
        outlines="<results>/rounds/{k}/outlines/{block}.parquet",
        sums="<results>/rounds/{k}/outlines/{block}.json",
    log:
        "<logs>/rounds/{k}/polygonize/{block}.log",
    benchmark:
        "<benchmarks>/rounds/{k}/polygonize/{block}.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(1500),
        runtime=minutes(60),
    params:
        options=project.options("polygonize"),
        code=project.code("polygonize"),
    message:
        "Round {wildcards.k}: outlines of block {wildcards.block}"
    shell:
        "rts-pipeline polygonize {wildcards.block} --probability {input.probability} --choice {input.choice}"
        " --out {output.outlines} --options {params.options:q} --code {params.code} 2> {log}"


rule candidates:
    input:
        # to measure the parts of outlines that are cut
        probability=(
            expand(
                "<results>/rounds/{{k}}/probability/{block}.tif",
                block=project.blocks,
            )
            if project.config.polygonize.neck_m
            else []
        ),
        outlines=expand(
            "<results>/rounds/{{k}}/outlines/{block}.parquet", block=project.blocks
        ),
        sums=expand(
            "<results>/rounds/{{k}}/outlines/{block}.json", block=project.blocks
        ),
        labels="<results>/rounds/{k}/labels.parquet",
        choice="<results>/rounds/{k}/validation/validation.json",
        aoi=ancient(project.config.area.aoi),
    output:
        outlines="<results>/rounds/{k}/outlines.parquet",
        candidates="<results>/rounds/{k}/candidates.parquet",
        gpkg="<results>/rounds/{k}/candidates.gpkg",
        summary="<results>/rounds/{k}/candidates.json",
    log:
        "<logs>/rounds/{k}/candidates.log",
    benchmark:
        "<benchmarks>/rounds/{k}/candidates.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(120),
    params:
        options=project.options("candidates"),
        code=project.code("candidates"),
        probability=option_for_each("probability", "probability"),
        given=given(["aoi"]),
    message:
        "Round {wildcards.k}: candidates for review"
    shell:
        "rts-pipeline candidates {wildcards.k} @<(printf '%s\\n' {input.outlines:q}) --labels {input.labels} --aoi {input.aoi:q}"
        " --choice {input.choice} --out-outlines {output.outlines} --out {output.candidates} --out-gpkg {output.gpkg}"
        " --out-summary {output.summary} {params.probability}"
        " --options {params.options:q} --code {params.code} 2> {log}"


rule audit:
    input:
        probabilities=expand(
            "<results>/rounds/{{k}}/probability/{block}.tif", block=project.blocks
        ),
        outlines="<results>/rounds/{k}/outlines.parquet",
        labels="<results>/rounds/{k}/labels.parquet",
        aoi=ancient(project.config.area.aoi),
        dem=ancient(project.ancillary.get("dem", [])),
    output:
        frame="<results>/rounds/{k}/audit.parquet",
        summary="<results>/rounds/{k}/audit.json",
    log:
        "<logs>/rounds/{k}/audit.log",
    benchmark:
        "<benchmarks>/rounds/{k}/audit.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(60),
    params:
        options=project.options("audit"),
        code=project.code("audit"),
        given=given(["aoi", "dem"]),
        dem=option_if_given("dem"),
    message:
        "Round {wildcards.k}: sample of windows for the audit"
    shell:
        "rts-pipeline audit {wildcards.k} @<(printf '%s\\n' {input.probabilities:q}) --outlines {input.outlines} --labels {input.labels}"
        " --aoi {input.aoi:q} {params.dem} --out {output.frame} --out-summary {output.summary}"
        " --options {params.options:q} --code {params.code} 2> {log}"


rule evidence:
    input:
        dem=ancient(project.ancillary.get("dem", [])),
        audit=(
            "<results>/rounds/{k}/audit.parquet"
            if project.config.audit.windows
            else []
        ),
        candidates="<results>/rounds/{k}/candidates.parquet",
        labels="<results>/rounds/{k}/labels.parquet",
        catalog="<results>/scenes/catalog.parquet",
        # the catalog names the items and not what was found of them: it may come out as it was
        measured=measured_of(project.items),
        adjusted=adjusted_of(project.adjusted),
        quantised=quantised("<results>/rounds/{k}/model"),
        network="<results>/rounds/{k}/model/network.onnx",
        model="<results>/rounds/{k}/model/model.json",
        choice="<results>/rounds/{k}/validation/validation.json",
    output:
        directory("<results>/rounds/{k}/evidence"),
    log:
        "<logs>/rounds/{k}/evidence.log",
    benchmark:
        "<benchmarks>/rounds/{k}/evidence.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    threads: 8
    resources:
        mem_mb=memory(4000),
        runtime=minutes(240),
        gpu=project.inference_gpus,
        # as in predict
        device=project.inference.device,
        batch_size=project.inference.batch_size,
    params:
        options=project.options("evidence"),
        code=project.code("evidence"),
        given=given(["dem"]),
        folder=subpath(input.model, parent=True),
        dem=option_if_given("dem"),
        audit=option_if_given("audit"),
        # beside the rounds: outputs are removed before a rule runs, and a new candidate is to cost only its own
        cache=f"{RESULTS}/evidence_cache",
    message:
        "Round {wildcards.k}: pictures and numbers of every year"
    shell:
        "rts-pipeline evidence --candidates {input.candidates} --catalog {input.catalog} --model {params.folder}"
        " --choice {input.choice} --labels {input.labels} {params.dem} {params.audit} --cache {params.cache} --out {output}"
        " --device {resources.device} --batch-size {resources.batch_size}"
        " --options {params.options:q} --code {params.code} 2> {log}"


rule verify:
    input:
        candidates="<results>/rounds/{k}/candidates.parquet",
        signoff="<reviews>/round_{k}/signoff.json",
    output:
        "<results>/rounds/{k}/verified.json",
    log:
        "<logs>/rounds/{k}/verify.log",
    benchmark:
        "<benchmarks>/rounds/{k}/verify.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(30),
    params:
        options=project.options("verify"),
        code=project.code("verify"),
        reviews=subpath(input.signoff, ancestor=2),
        results=subpath(input.candidates, ancestor=3),
    message:
        "Round {wildcards.k}: compare the rebuilt candidates with those reviewed"
    shell:
        "rts-pipeline review verify {wildcards.k} --reviews {params.reviews:q} --results {params.results:q}"
        " --out {output} --options {params.options:q} --code {params.code} 2> {log}"
