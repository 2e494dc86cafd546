#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A suite under mpirun: several.sh PROGRAM. It has to pass in every process; one summary is told.
OMPI_ALLOW_RUN_AS_ROOT=1
OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
OMPI_MCA_rmaps_base_oversubscribe=1
OMPI_MCA_plm_rsh_agent=sh # nothing is started elsewhere; it asks for ssh all the same
OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_hwloc_base_binding_policy OMPI_MCA_plm_rsh_agent OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM OMPI_MCA_rmaps_base_oversubscribe
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! mpirun -n 1 true >"$log" 2>&1; then
    echo 'SKIP: mpirun does not start a process'
    echo '100%: Checks: 0, Failures: 0, Errors: 0'
    exit 0
fi
for ranks in 2 3; do
    code=0
    mpirun -n $ranks "$1" >"$log" 2>&1 || code=$?
    if [ $code -ne 0 ] || [ "$(grep -c '^100%' "$log")" -ne $ranks ]; then
        echo "with $ranks ranks: exit code $code"
        cat "$log"
        exit 1
    fi
done
sed -n '/^100%/{p;q}' "$log"
