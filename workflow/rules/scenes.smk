# Delivered items: measured, accounted for, and laid onto the grid.


rule scenes:
    input:
        delivered_files,
    output:
        item="<results>/scenes/{item}/item.json",
        usable="<results>/scenes/{item}/usable.tif",
    params:
        options=project.options("scenes"),
        code=project.code("scenes"),
        # names, sizes and checksums: raw files are too big for Snakemake to compare by content
        delivered=lambda wildcards: canonical_json(project.items[wildcards.item].fingerprint),
        files=lambda wildcards: item_arguments(project.items[wildcards.item]),
    log:
        "<logs>/scenes/{item}.log",
    benchmark:
        "<benchmarks>/scenes/{item}.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    message:
        "Measure item {wildcards.item}"
    resources:
        mem_mb=1000,
    shell:
        "rts-pipeline scenes measure {wildcards.item} {params.files} --out-item {output.item} --out-usable {output.usable}"
        " --options {params.options:q} --code {params.code} 2> {log}"


rule catalog:
    input:
        item_jsons(project.items),
    output:
        catalog="<results>/scenes/catalog.parquet",
        files="<results>/scenes/files.csv",
    params:
        options=project.options("catalog"),
        code=project.code("catalog"),
        listing=project.listing,
        folder=f"{RESULTS}/scenes",
    log:
        "<logs>/catalog.log",
    benchmark:
        "<benchmarks>/catalog.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    message:
        "Account for every delivered file"
    resources:
        mem_mb=1000,
    shell:
        "rts-pipeline scenes catalog {params.folder} --listing {params.listing} --out {output.catalog}"
        " --out-files {output.files} --options {params.options:q} --code {params.code} 2> {log}"


rule mosaic:
    input:
        items=lambda wildcards: item_jsons(project.selection.by_cell[wildcards.cell]),
        usable=lambda wildcards: masks_of(project.selection.by_cell[wildcards.cell]),
    output:
        mosaic="<results>/mosaic/{cell}.tif",
        source="<results>/mosaic/{cell}_source.tif",
    params:
        options=project.options("mosaic"),
        code=project.code("mosaic"),
    log:
        "<logs>/mosaic/{cell}.log",
    benchmark:
        "<benchmarks>/mosaic/{cell}.tsv"
    conda:
        "../../envs/rts-pipeline.yaml"
    message:
        "Mosaic of cell {wildcards.cell}"
    resources:
        mem_mb=1500,
    shell:
        "rts-pipeline mosaic {wildcards.cell} {input.items} --out {output.mosaic} --out-source {output.source}"
        " --options {params.options:q} --code {params.code} 2> {log}"
