// One slide, one folder: `compseg predict` of every slide as a task of its own.
//
//     nextflow run main.nf --slides 'slides/*.tif' --model runs/mine/model --out predictions -resume
//
// Slides of one file each: of those in two (ENVI) a task would see only one.
// A cluster, a container or a cloud is chosen in nextflow.config (process.executor = 'slurm', process.container = …).
params.slides = 'slides/*'
params.model = 'runs/train/model'
params.out = 'predictions'
params.options = ''

process predict {
    tag "${slide.baseName}"
    publishDir params.out, mode: 'copy'
    cpus 2
    memory 4.GB
    errorStrategy 'retry'
    maxRetries 2

    input:
    path slide
    path model

    output:
    path "${slide.baseName}"

    script:
    """
    compseg predict '${slide}' --model '${model}' --out '${slide.baseName}' ${params.options}
    """
}

workflow {
    predict(channel.fromPath(params.slides), file(params.model))
}
