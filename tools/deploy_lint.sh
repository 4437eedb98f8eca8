#!/bin/sh
# Lints deploy/ and the shell scripts, in an environment of its own; made or refreshed when requirements/deploy.txt has changed.
# usage: tools/deploy_lint.sh VENV [PYTHON]     without PYTHON the environment must be there
set -eu
cd "$(dirname "$0")/.."

venv=$1
python=${2:-$venv/bin/python}
stamp="$("$python" -VV) $(sha256sum requirements/deploy.txt)"
if [ "$stamp" != "$(cat "$venv/deploy.stamp" 2>/dev/null)" ]; then
  "$python" -m venv --clear "$venv"
  "$venv/bin/python" -m pip install -qq --require-hashes --only-binary :all: -r requirements/deploy.txt
  echo "$stamp" >"$venv/deploy.stamp"
fi
PATH=$(cd "$venv/bin" && pwd):$PATH
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
export PATH ANSIBLE_HOME="$home" ANSIBLE_LINT_NODEPS=1 NO_COLOR=1

told() { # the name of a check, and its command; says how it ended
  name=$1
  shift
  "$@" >"$home/said" 2>&1 || { cat "$home/said"; echo "deploy: $name: FAILED"; exit 1; }
  echo "deploy: $name: clean"
}

told "yamllint" yamllint --strict --config-file deploy/.yamllint deploy
told "hadolint, deploy/container" hadolint deploy/container/Dockerfile
told "compose files" check-jsonschema --builtin-schema vendor.compose-spec deploy/container/*.yaml deploy/dashboards/compose.yaml
told "kubernetes-validate, deploy/k3s" kubernetes-validate --strict deploy/k3s/base/namespace.yaml deploy/k3s/base/priority.yaml deploy/k3s/base/stations.yaml
if command -v kubectl >/dev/null; then
  kubectl kustomize deploy/k3s/example >"$home/stations.yaml"
  told "kubernetes-validate, the example overlay" kubernetes-validate --strict "$home/stations.yaml"
else
  echo "deploy: the example overlay: not looked at, kubectl is not on this machine"
fi
told "shellcheck, install.sh" shellcheck deploy/install.sh
told "shellcheck, tools and tests" shellcheck --severity=warning tools/*.sh tests/system/*.sh  # below it: words that are meant to split
cd deploy/ansible
told "ansible-lint" ansible-lint --offline --strict
told "playbooks" ansible-playbook --syntax-check site.yml rollback.yml
