# What people accepted, as an inventory with attributes and a report.


rule inventory:
    input:
        **{name: ancient(path) for name, path in project.lineage.items()},
        seeds=ancient(project.config.labels.seeds or []),
        signoffs=signoffs(project.rounds.finished),
        reviewed=reviewed(project.rounds.finished),
        evidence=kept_evidence(project.rounds.finished),
        # what was observed says whether an earlier slump can be gone
        sources=mosaics_of(
            project.cells if "previous" in project.lineage else [], kind="_source"
        ),
    output:
        outlines="<results>/inventory/outlines.parquet",
        relations="<results>/inventory/relations.parquet",
        relations_csv="<results>/inventory/relations.csv",
    log:
        "<logs>/inventory.log",
    benchmark:
        "<benchmarks>/inventory.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(2500),
        runtime=minutes(60),
    params:
        options=project.options("inventory"),
        code=project.code("inventory"),
        lineage=" ".join(
            f"--{name} {shlex.quote(path)}" for name, path in project.lineage.items()
        ),
        given=given(["seeds", *project.lineage], project.rounds.finished),
        seeds=option_if_given("seeds"),
        sources=lambda wildcards, input: [f"--source={path}" for path in input.sources],
    message:
        "Inventory of the accepted slumps"
    shell:
        "rts-pipeline inventory build {input.reviewed} {params.seeds} {params.lineage}"
        " @<(printf '%s\\n' {params.sources:q}) --out {output.outlines}"
        " --options {params.options:q} --code {params.code} 2> {log}"


rule completeness:
    input:
        inventory="<results>/inventory/outlines.parquet",
        signoffs=signoffs(project.rounds.finished),
        reviewed=reviewed(project.rounds.finished),
        detectors=project.config.completeness.files,
    output:
        "<results>/inventory/completeness.json",
    log:
        "<logs>/completeness.log",
    benchmark:
        "<benchmarks>/completeness.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        options=project.options("completeness"),
        code=project.code("completeness"),
        given=given([], project.rounds.finished),
        rounds=" ".join(project.rounds.finished),
        reviews=lambda wildcards: REVIEWS,
        detectors=" ".join(
            f"--detector {shlex.quote(folder)}"
            for folder in project.config.completeness.detectors
        ),
    message:
        "Completeness of the inventory"
    shell:
        "rts-pipeline completeness {params.rounds} --inventory {input.inventory} --reviews {params.reviews:q}"
        " {params.detectors} --out {output} --options {params.options:q} --code {params.code} 2> {log}"


rule attributes:
    input:
        **{name: ancient(path) for name, path in project.ancillary.items()},
        inventory="<results>/inventory/outlines.parquet",
        sources=mosaics_of(project.inventory_cells, kind="_source"),
        covariates=ancient(project.covariates),
    output:
        "<results>/inventory/attributes.parquet",
    log:
        "<logs>/attributes.log",
    benchmark:
        "<benchmarks>/attributes.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(60),
    params:
        options=project.options("attributes"),
        code=project.code("attributes"),
        given=given(project.config.attributes.files),
        ancillary=" ".join(
            f"--{name} {shlex.quote(path)}" for name, path in project.ancillary.items()
        ),
    message:
        "Attributes of the inventory"
    shell:
        "rts-pipeline attributes @<(printf '%s\\n' {input.sources:q}) --inventory {input.inventory} {params.ancillary} --out {output}"
        " --options {params.options:q} --code {params.code} 2> {log}"


rule export:
    input:
        attributes="<results>/inventory/attributes.parquet",
        completeness="<results>/inventory/completeness.json",
        observed="<results>/coverage/observed.parquet",
        signoffs=signoffs(project.rounds.finished),
    output:
        expand("<results>/export/{file}", file=project.release_files),
    log:
        "<logs>/export.log",
    benchmark:
        "<benchmarks>/export.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(1500),
        runtime=minutes(30),
    params:
        options=project.options("export"),
        code=project.code("export"),
        rounds=" ".join(project.rounds.finished),
        reviews=lambda wildcards: REVIEWS,
        folder=subpath(output[0], parent=True),
    message:
        "Release of the inventory"
    shell:
        "rts-pipeline export write {input.attributes} {params.rounds} --completeness {input.completeness}"
        " --observed {input.observed} --reviews {params.reviews:q} --out {params.folder:q}"
        " --options {params.options:q} --code {params.code} 2> {log}"


rule report:
    input:
        attributes="<results>/inventory/attributes.parquet",
        completeness="<results>/inventory/completeness.json",
        catalog="<results>/scenes/catalog.parquet",
        ledger="<results>/scenes/ledger.parquet",
        mosaics=mosaics_of(project.cells),
        sources=mosaics_of(project.cells, kind="_source"),
        coverage=coverage_of(project.selection.by_block, "tif"),
        observed="<results>/coverage/observed.parquet",
        signoffs=signoffs(project.rounds.finished),
        aoi=ancient(project.config.area.aoi),
        dem=ancient(project.ancillary.get("dem", [])),
    output:
        html=report(
            "<results>/report/report.html",
            caption="../report/report.rst",
            category="Report",
        ),
        figures=report(
            directory("<results>/report/figures"),
            patterns=["{name}.png"],
            caption="../report/figures.rst",
            category="Figures",
            labels={"figure": "{name}"},
        ),
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(60),
    params:
        options=project.options("report"),
        code=project.code("report"),
        given=given(["aoi", "dem"], project.rounds.finished),
        rounds=" ".join(project.rounds.finished),
        results=subpath(input.attributes, ancestor=2),
        reviews=lambda wildcards: REVIEWS,
        # not for the command: pictures that came after the report, as all_rounds makes them, renew it in the next run
        evidence=project.evidence_state(project.rounds.finished),
        dem=option_if_given("dem"),
    message:
        "Report"
    shell:
        "rts-pipeline report {params.rounds} --attributes {input.attributes} --completeness {input.completeness}"
        " --catalog {input.catalog} --aoi {input.aoi:q}"
        " --results {params.results:q} --reviews {params.reviews:q} {params.dem} --out {output.html}"
        " --options {params.options:q} --code {params.code} 2> {log}"
