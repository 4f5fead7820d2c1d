#!/bin/sh
# Switches the aggregation layer on by hand: on one control-plane node as kubeadm lays it out, by root, with openssl, kubectl
# and curl. README.md says why each step is as it is. ROOT is the root of a sandbox; on a node it is left out. TRIES is how
# often it looks whether kube-apiserver is back, every two seconds.
set -eu
root=${ROOT:-}
pki=$root/etc/kubernetes/pki
manifest=$root/etc/kubernetes/manifests/kube-apiserver.yaml
before=$root/etc/kubernetes/kube-apiserver.yaml.before
draft=$root/etc/kubernetes/manifests/.kube-apiserver.yaml.draft
export KUBECONFIG="$root/etc/kubernetes/admin.conf"

refuse() {
  echo "switch-on: $*" >&2
  exit 3
}

published() {
  kubectl -n kube-system get configmap extension-apiserver-authentication --ignore-not-found \
    -o "jsonpath={.data['requestheader-client-ca-file']}"
}

# 1. Look before anything is written.
[ "$(grep -c '^ *- kube-apiserver$' "$manifest")" = 1 ] || refuse "$manifest does not start kube-apiserver as kubeadm has it"
grep -q 'mountPath: /etc/kubernetes/pki$' "$manifest" || refuse "$manifest does not mount /etc/kubernetes/pki"
! grep -qe '--requestheader-\|--proxy-client-' "$manifest" || refuse "$manifest has flags of the layer already"
! ls "$pki"/front-proxy-* >/dev/null 2>&1 || refuse "$pki has files of the front proxy already"
there=$(published) || refuse "kube-apiserver does not answer; mend that first"
[ -z "$there" ] || refuse "another node has the layer on; this node needs the same CA, so copy $pki/front-proxy-ca.* from there"

# 2. A CA for this purpose alone, and below it the certificate that kube-apiserver shows to extension servers.
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
openssl req -x509 -newkey rsa:2048 -nodes -sha256 -days 3650 -subj /CN=front-proxy-ca \
  -addext keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign \
  -keyout "$pki/front-proxy-ca.key" -out "$pki/front-proxy-ca.crt" 2>"$work/said" || { cat "$work/said" >&2; exit 1; }
openssl req -newkey rsa:2048 -nodes -sha256 -subj /CN=front-proxy-client \
  -keyout "$pki/front-proxy-client.key" -out "$work/client.csr" 2>"$work/said" || { cat "$work/said" >&2; exit 1; }
echo 'keyUsage=critical,digitalSignature,keyEncipherment' >"$work/extensions"
echo 'extendedKeyUsage=clientAuth' >>"$work/extensions"
openssl x509 -req -in "$work/client.csr" -sha256 -days 365 -extfile "$work/extensions" \
  -CA "$pki/front-proxy-ca.crt" -CAkey "$pki/front-proxy-ca.key" -CAserial "$work/serial" -CAcreateserial \
  -out "$pki/front-proxy-client.crt" 2>"$work/said" || { cat "$work/said" >&2; exit 1; }
chmod 644 "$pki/front-proxy-ca.crt" "$pki/front-proxy-client.crt"

# 3. The flags, in a draft that the kubelet does not see, and then the restart of kube-apiserver by one rename.
cp -p "$manifest" "$before"
cp -p "$manifest" "$draft"
sed 's|^\( *\)- kube-apiserver$|&\
\1- --proxy-client-cert-file=/etc/kubernetes/pki/front-proxy-client.crt\
\1- --proxy-client-key-file=/etc/kubernetes/pki/front-proxy-client.key\
\1- --requestheader-allowed-names=front-proxy-client\
\1- --requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt\
\1- --requestheader-extra-headers-prefix=X-Remote-Extra-\
\1- --requestheader-group-headers=X-Remote-Group\
\1- --requestheader-username-headers=X-Remote-User|' "$before" >"$draft"
sync "$draft"
mv "$draft" "$manifest"

# 4. Wait until a kube-apiserver with these flags publishes this CA; if none does, put the old manifest back.
tries=0
until [ "$(published 2>/dev/null)" = "$(cat "$pki/front-proxy-ca.crt")" ]; do
  tries=$((tries + 1))
  if [ "$tries" -gt "${TRIES:-120}" ]; then
    cp -p "$before" "$draft"
    mv "$draft" "$manifest"
    echo "switch-on: kube-apiserver did not come back with the layer on; the old manifest is in force again." >&2
    echo "See its log in $root/var/log/pods, and delete $pki/front-proxy-* before the next try." >&2
    exit 1
  fi
  sleep 2
done

# 5. Prove that it takes the front proxy's word: the harmless user of the header is the user of the request.
server=$(kubectl config view --minify -o 'jsonpath={.clusters[0].cluster.server}')
curl --silent --show-error --fail --cacert "$pki/ca.crt" \
  --cert "$pki/front-proxy-client.crt" --key "$pki/front-proxy-client.key" \
  --header 'X-Remote-User: by-hand' --header 'X-Remote-Group: system:authenticated' \
  --header 'Content-Type: application/json' \
  --data '{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}' \
  "$server/apis/authentication.k8s.io/v1/selfsubjectreviews" | grep -q '"username": *"by-hand"' ||
  { echo "switch-on: kube-apiserver does not take the front proxy's certificate" >&2; exit 1; }
echo "The aggregation layer is on. The manifest as it was: $before"
