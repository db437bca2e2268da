# Delivered items: measured, laid onto the grid, counted, and accounted for.


rule scenes:
    # No input: raw files are too big for Snakemake to compare. Each item comes with a digest of its files' places, names,
    # sizes and checksums instead, and one that changes makes another batch.
    output:
        "<results>/scenes/batches/{batch}.json",
    log:
        "<logs>/scenes/{batch}.log",
    benchmark:
        "<benchmarks>/scenes/{batch}.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(30),
    params:
        options=project.options("scenes"),
        code=project.code("scenes"),
        folder=subpath(output[0], ancestor=2),
        names=lambda wildcards: project.batch_items(wildcards.batch),
    message:
        "Measure the items of batch {wildcards.batch}"
    shell:
        "rts-pipeline scenes measure @<(printf '%s\\n' {params.names:q}) --scenes {params.folder} --out {output}"
        " --options {params.options:q} --code {params.code} 2> {log}"


rule catalog:
    input:
        known_of(project.items),
    output:
        "<results>/scenes/catalog.parquet",
    log:
        "<logs>/catalog.log",
    benchmark:
        "<benchmarks>/catalog.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(30),
    params:
        options=project.options("catalog"),
        code=project.code("catalog"),
        # not for the command: any item that comes or goes, also one that can't be used, renews the table
        known=project.known,
        folder=subpath(output[0], parent=True),
    message:
        "List every delivered item"
    shell:
        "rts-pipeline scenes catalog {params.folder} --out {output}"
        " --options {params.options:q} --code {params.code} 2> {log}"


rule overlaps:
    input:
        measured=lambda wildcards: measured_of(project.items_near(wildcards.block)),
        reference=ancient(project.config.adjust.reference or []),
    output:
        "<results>/overlaps/{block}.parquet",
    log:
        "<logs>/overlaps/{block}.log",
    benchmark:
        "<benchmarks>/overlaps/{block}.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(1500),
        runtime=minutes(60),
    params:
        options=project.options("overlaps"),
        code=project.code("overlaps"),
        paths=lambda wildcards: item_jsons(project.items_near(wildcards.block)),
        given=given(["reference"]),
        mosaics="",
    message:
        "Compare the items that overlap in block {wildcards.block}"
    shell:
        "rts-pipeline overlaps {wildcards.block} @<(printf '%s\\n' {params.paths:q}) {params.mosaics} --out {output}"
        " --options {params.options:q} --code {params.code} 2> {log}"


rule adjust:
    input:
        overlaps=overlaps_of(project.blocks),
        measured=measured_of(project.selection.target),
    output:
        ADJUSTED,
    log:
        "<logs>/adjust.log",
    benchmark:
        "<benchmarks>/adjust.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(60),
    params:
        options=project.options("adjust"),
        code=project.code("adjust"),
        folder=subpath(output[0], parent=True),
        ids=sorted(project.selection.target),
        overlaps=option_for_each("overlaps", "overlaps"),
    message:
        "Make the items of the target year agree"
    shell:
        "rts-pipeline adjust {params.folder:q} @<(printf '%s\\n' {params.ids:q}) {params.overlaps} --out {output}"
        " --options {params.options:q} --code {params.code} 2> {log}"


rule mosaic:
    input:
        lambda wildcards: known_of(project.selection.by_cell[wildcards.cell]),
    output:
        mosaic="<results>/mosaic/{cell}.tif",
        source="<results>/mosaic/{cell}_source.tif",
    log:
        "<logs>/mosaic/{cell}.log",
    benchmark:
        "<benchmarks>/mosaic/{cell}.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(1500),
        runtime=minutes(60),
    params:
        options=project.options("mosaic"),
        code=project.code("mosaic"),
        paths=lambda wildcards: known_jsons(project.selection.by_cell[wildcards.cell]),
    message:
        "Mosaic of cell {wildcards.cell}"
    shell:
        "rts-pipeline mosaic {wildcards.cell} @<(printf '%s\\n' {params.paths:q}) --out {output.mosaic} --out-source {output.source}"
        " --options {params.options:q} --code {params.code} 2> {log}"


use rule overlaps as overlaps_years with:
    input:
        measured=lambda wildcards: measured_of(project.years_in(wildcards.block)),
        mosaics=lambda wildcards: mosaics_of(project.cells_sampled(wildcards.block)),
    output:
        "<results>/overlaps/{block}_years.parquet",
    log:
        "<logs>/overlaps/{block}_years.log",
    benchmark:
        "<benchmarks>/overlaps/{block}_years.tsv"
    params:
        options=project.options("overlaps"),
        code=project.code("overlaps"),
        paths=lambda wildcards: item_jsons(project.years_in(wildcards.block)),
        mosaics=option_for_each("mosaic", "mosaics"),
    message:
        "Compare the other years' items with the mosaics in block {wildcards.block}"


use rule adjust as adjust_years with:
    input:
        overlaps=overlaps_of(project.blocks, "_years"),
        measured=measured_of(project.adjusted_years),
    output:
        ADJUSTED_YEARS,
    log:
        "<logs>/adjust_years.log",
    benchmark:
        "<benchmarks>/adjust_years.tsv"
    params:
        options=project.options("adjust"),
        code=project.code("adjust"),
        folder=subpath(output[0], parent=True),
        ids=sorted(project.adjusted_years),
        overlaps=option_for_each("overlaps", "overlaps"),
    message:
        "Make the other years' items agree with the mosaics"


rule coverage:
    input:
        lambda wildcards: known_of(project.selection.by_block[wildcards.block]),
    output:
        counts="<results>/coverage/{block}.tif",
        table="<results>/coverage/{block}.parquet",
    log:
        "<logs>/coverage/{block}.log",
    benchmark:
        "<benchmarks>/coverage/{block}.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(1500),
        runtime=minutes(60),
    params:
        options=project.options("coverage"),
        code=project.code("coverage"),
        paths=lambda wildcards: known_jsons(project.selection.by_block[wildcards.block]),
        cells=lambda wildcards: " ".join(
            f"--cell {cell}" for cell in project.selection.block_cells[wildcards.block]
        ),
    message:
        "Observations of block {wildcards.block}"
    shell:
        "rts-pipeline coverage {wildcards.block} @<(printf '%s\\n' {params.paths:q}) {params.cells} --out {output.counts}"
        " --out-table {output.table} --options {params.options:q} --code {params.code} 2> {log}"


rule observed:
    input:
        coverage_of(project.selection.by_block, "parquet"),
    output:
        "<results>/coverage/observed.parquet",
    log:
        "<logs>/observed.log",
    benchmark:
        "<benchmarks>/observed.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(30),
    params:
        options=project.options("observed"),
        code=project.code("observed"),
    message:
        "What was observed of each cell in each year"
    shell:
        "rts-pipeline observed @<(printf '%s\\n' {input:q}) --out {output} --options {params.options:q} --code {params.code} 2> {log}"


rule ledger:
    input:
        catalog="<results>/scenes/catalog.parquet",
        sources=mosaics_of(project.cells, kind="_source"),
    output:
        ledger="<results>/scenes/ledger.parquet",
        page="<results>/scenes/ledger.html",
    log:
        "<logs>/ledger.log",
    benchmark:
        "<benchmarks>/ledger.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        options=project.options("ledger"),
        code=project.code("ledger"),
        # not for the command: any file that comes or goes renews the ledger
        listing=project.listing,
    message:
        "Account for every delivered file"
    shell:
        "rts-pipeline scenes ledger @<(printf '%s\\n' {input.sources:q}) --catalog {input.catalog} --out {output.ledger}"
        " --out-html {output.page} --options {params.options:q} --code {params.code} 2> {log}"
