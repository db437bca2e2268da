# Delivered items: measured, accounted for, and laid onto the grid.


rule scenes:
    input:
        delivered_files,
    output:
        item="<results>/scenes/{item}/item.json",
        usable="<results>/scenes/{item}/usable.tif",
    log:
        "<logs>/scenes/{item}.log",
    benchmark:
        "<benchmarks>/scenes/{item}.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=1000,
    params:
        options=project.options("scenes"),
        code=project.code("scenes"),
        # names, sizes and checksums: raw files are too big for Snakemake to compare by content
        delivered=lambda wildcards: canonical_json(
            project.items[wildcards.item].fingerprint
        ),
        files=lambda wildcards: item_arguments(project.items[wildcards.item]),
    message:
        "Measure item {wildcards.item}"
    shell:
        "rts-pipeline scenes measure {wildcards.item} {params.files} --out-item {output.item} --out-usable {output.usable}"
        " --options {params.options:q} --code {params.code} 2> {log}"


rule catalog:
    input:
        item_jsons(project.items),
    output:
        catalog="<results>/scenes/catalog.parquet",
        files="<results>/scenes/files.csv",
    log:
        "<logs>/catalog.log",
    benchmark:
        "<benchmarks>/catalog.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=1000,
    params:
        options=project.options("catalog"),
        code=project.code("catalog"),
        # not for the command: any file that comes or goes renews the account
        listing=project.listing,
        folder=subpath(output.catalog, parent=True),
    message:
        "Account for every delivered file"
    shell:
        "rts-pipeline scenes catalog {params.folder} --out {output.catalog}"
        " --out-files {output.files} --options {params.options:q} --code {params.code} 2> {log}"


rule overlaps:
    input:
        measured=lambda wildcards: measured_jsons(project.items_near(wildcards.block)),
        usable=lambda wildcards: masks_of(project.items_near(wildcards.block)),
        reference=project.config.adjust.reference or [],
    output:
        "<results>/overlaps/{block}.parquet",
    log:
        "<logs>/overlaps/{block}.log",
    benchmark:
        "<benchmarks>/overlaps/{block}.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=1500,
    params:
        options=project.options("overlaps"),
        code=project.code("overlaps"),
    message:
        "Compare the items that overlap in block {wildcards.block}"
    shell:
        "rts-pipeline overlaps {wildcards.block} {input.measured} --out {output}"
        " --options {params.options:q} --code {params.code} 2> {log}"


rule adjust:
    input:
        overlaps=overlaps_of(project.blocks),
        measured=measured_jsons(project.adjusted),
    output:
        adjusted_jsons(project.adjusted),
    log:
        "<logs>/adjust.log",
    benchmark:
        "<benchmarks>/adjust.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    resources:
        mem_mb=2000,
    params:
        options=project.options("adjust"),
        code=project.code("adjust"),
        folder=f"{RESULTS}/scenes",
        # ids, not paths: a command line holds 128 kB
        ids=" ".join(sorted(project.adjusted)),
        overlaps=lambda wildcards, input: " ".join(
            f"--overlaps {shlex.quote(path)}" for path in input.overlaps
        ),
    message:
        "Make the items of the target year agree"
    shell:
        "rts-pipeline adjust {params.folder:q} {params.ids} {params.overlaps}"
        " --options {params.options:q} --code {params.code} 2> {log}"


rule mosaic:
    input:
        measured=lambda wildcards: item_jsons(project.selection.by_cell[wildcards.cell]),
        usable=lambda wildcards: masks_of(project.selection.by_cell[wildcards.cell]),
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
        mem_mb=1500,
    params:
        options=project.options("mosaic"),
        code=project.code("mosaic"),
    message:
        "Mosaic of cell {wildcards.cell}"
    shell:
        "rts-pipeline mosaic {wildcards.cell} {input.measured} --out {output.mosaic} --out-source {output.source}"
        " --options {params.options:q} --code {params.code} 2> {log}"
