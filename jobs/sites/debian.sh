# shellcheck shell=bash
# Site settings for machines with Debian's packages: nothing to load. Job scripts source this file (or the one that FEDBPT_SITE
# names) in the project's folder, or of an installed copy in the folder of the job. FBT_PROGRAM is the copy's program, or that of the
# preset release.
#
# Variables that a site file sets:
#   FEDBPT              the program
#   FBT_LAUNCH          what starts a program on every rank of the job: passes on SIGUSR1, and returns the largest exit code of the ranks

FEDBPT="${FEDBPT:-$FBT_PROGRAM}"

# Open MPI's Debian package finds SLURM's nodes and ranks through PMIx. When a rank dies, the step ends with it: at once, or, if
# MPI has not begun, after --wait seconds. The program binds its own threads.
# shellcheck disable=SC2034  # for slurm.sh
FBT_LAUNCH=(srun --mpi=pmix --wait=20)

# Over plain Ethernet Open MPI 4.1 would take its own TCP transport, which under srun crashes about one start in a hundred: a message of
# a rank that has started reaches one that has not. UCX, in the same package, serves every network.
export OMPI_MCA_pml="${OMPI_MCA_pml:-ucx}" OMPI_MCA_opal_common_ucx_tls=any OMPI_MCA_opal_common_ucx_devices=any

# Containers and test clusters may run jobs as root, which Open MPI refuses unless told twice.
if [ "$(id -u)" -eq 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
