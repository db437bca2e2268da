# From PlanetScope items to a reviewed inventory of retrogressive thaw slumps, round after round.
#
#   snakemake -n --quiet rules       what would run
#   snakemake --cores N              everything up to the next review, or the inventory when the loop has ended
#   snakemake --cores N preliminary  the inventory of the rounds signed off so far
#   snakemake --cores N all_rounds   the finished rounds too, verified against what was reviewed
#   snakemake --cores N crossvalidation
#                                    figures of the open (else the last) round, from blocks that the networks never saw;
#                                    chips.folds trainings that no other target needs

from snakemake.utils import min_version

min_version("9.14")


report: "workflow/report/workflow.rst"


if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/scenes.smk"
include: "workflow/rules/learning.smk"
include: "workflow/rules/candidates.smk"
include: "workflow/rules/inventory.smk"


rule all:
    default_target: True
    input:
        scene_files(),
        round_files(project.wanted_rounds()),
        inventory_files() if project.wants_inventory() else [],


rule preliminary:
    input:
        inventory_files(),


rule all_rounds:
    input:
        scene_files(),
        round_files(project.rounds.finished + project.wanted_rounds()),
        verified_files(project.rounds.finished),
        inventory_files() if project.wants_inventory() else [],


rule crossvalidation:
    input:
        crossvalidation_files(),


onstart:
    begin(Path(RESULTS))


onsuccess:
    tell_current_state()
