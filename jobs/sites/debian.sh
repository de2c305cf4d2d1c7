# shellcheck shell=bash
# Site settings for machines with Debian's packages: nothing to load. Job scripts source this file (or the one that FEDBPT_SITE
# names) in the folder from which the job was submitted, a checkout of the project.
#
# What a site file sets:
#   FEDBPT              the program
#   FBT_LAUNCH          what starts a program on every rank of the job: passes on SIGUSR1, and returns the largest exit code of the ranks

FEDBPT="${FEDBPT:-$PWD/build/release/bin/fedbpt}"

# Open MPI's Debian package finds SLURM's nodes and ranks through PMIx. When a rank dies, the step ends with it. The
# program binds its own threads.
FBT_LAUNCH=(srun --mpi=pmix)

# Containers and test clusters may run jobs as root, which Open MPI refuses unless told twice.
if [ "$(id -u)" -eq 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
