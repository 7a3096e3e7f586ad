#!/bin/sh
# onebit train on four nodes of a Slurm cluster, one process a node, each with the node's cores:
#   sbatch slurm.sh
# Where a node has several sockets, one process a socket (--ntasks-per-node=2) is usually faster.
#SBATCH --job-name=onebit
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
# SIGTERM five minutes before the time is up: the run ends with a checkpoint.
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append

module load openmpi

# The data and the config must be at the same path on every node; only rank 0 writes OUTPUT.
OUTPUT=$SCRATCH/run
RESUME=
ls -d "$OUTPUT"/step-* >/dev/null 2>&1 && RESUME=--resume

# --kill-on-bad-exit: a process that fails ends the others. --mpi: what `srun --mpi=list` offers.
srun --mpi=pmix --kill-on-bad-exit=1 --cpu-bind=cores \
    onebit train --config config.json --tokenizer tok.json \
    --data-dir tokens/ --val-data-dir valid.tokens --output-dir "$OUTPUT" \
    --device cpu --threads "$SLURM_CPUS_PER_TASK" \
    --batch-size 8 --accumulation-steps 4 $RESUME
STATUS=$?

# Ended by the signal above: the job waits for its turn again, and goes on from that checkpoint.
[ "$STATUS" -eq 143 ] && scontrol requeue "$SLURM_JOB_ID"
exit "$STATUS"
