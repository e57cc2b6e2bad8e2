{{/* What the schema cannot say, or not so that a person knows what to do. */}}
{{- define "salesos-webhooks.checks" -}}
{{- $image := .Values.image -}}
{{- if not $image.repository -}}
{{- fail (printf "\n\nimage.repository is empty, and no image is published. Build one in a checkout of the repository, push it where your cluster pulls from, and name it:\n\n    docker build --build-arg REVISION=$(git rev-parse --short HEAD) -t REGISTRY/salesos-webhooks:%s .\n    docker push REGISTRY/salesos-webhooks:%s\n    helm install … --set image.repository=REGISTRY/salesos-webhooks\n" .Chart.AppVersion .Chart.AppVersion) -}}
{{- end -}}
{{- include "salesos-webhooks.checkAuth" . -}}
{{- include "salesos-webhooks.checkSecurity" . -}}
{{- include "salesos-webhooks.checkOwnKeys" . -}}
{{- if .Values.valkey.enabled -}}
{{- include "salesos-webhooks.checkValkey" . -}}
{{- else -}}
{{- include "salesos-webhooks.checkRedis" . -}}
{{- end -}}
{{- include "salesos-webhooks.checkTimes" . -}}
{{- if and .Values.tests.privateReceiver .Values.config.delivery.require_https -}}
{{- fail "tests.privateReceiver receives over http, which config.delivery.require_https forbids: set one of them to false" -}}
{{- end -}}
{{- with .Values.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "salesos-webhooks.checkAuth" -}}
{{- $auth := .Values.auth -}}
{{- $keys := .Values.config.auth -}}
{{- if and $auth.jwtSecret $auth.existingSecret -}}
{{- fail "auth.jwtSecret and auth.existingSecret are both set: give one" -}}
{{- else if not (or $auth.jwtSecret $auth.existingSecret $keys.jwks_url $keys.jwks_file $keys.jwt_public_key_file) -}}
{{- fail "auth.existingSecret is empty: nodes check tokens with a key. Make a Secret and name it (kubectl create secret generic webhooks-auth --from-literal=jwt-secret=$(openssl rand -hex 32)), or name your identity provider's keys in config.auth.jwks_url, or set auth.jwtSecret for a trial" -}}
{{- else if and $auth.jwtSecret (lt (len $auth.jwtSecret) 32) -}}
{{- fail (printf "auth.jwtSecret has %d bytes; at least 32 are needed (openssl rand -hex 32)" (len $auth.jwtSecret)) -}}
{{- end -}}
{{- if and $keys.jwks_file $keys.jwks_url -}}
{{- fail "config.auth.jwks_file and config.auth.jwks_url are both set: give one" -}}
{{- end -}}
{{- if and $keys.jwks_url (not (hasPrefix "https://" $keys.jwks_url)) -}}
{{- fail (printf "config.auth.jwks_url is %s: nodes fetch keys over https alone" $keys.jwks_url) -}}
{{- end -}}
{{- end -}}

{{- define "salesos-webhooks.checkSecurity" -}}
{{- $security := .Values.security -}}
{{- if and $security.existingSecret (or $security.encryptionKey $security.formerEncryptionKeys) -}}
{{- fail "security.existingSecret and a key in security are both set: give one" -}}
{{- end -}}
{{- end -}}

{{/* Keys of `config` that other values decide. */}}
{{- define "salesos-webhooks.checkOwnKeys" -}}
{{- $config := .Values.config -}}
{{- $own := list
  (list "node.id" $config.node.id "" "every node is named after its pod")
  (list "auth.jwt_secret" $config.auth.jwt_secret "" "it would lie in a ConfigMap: use auth.existingSecret")
  (list "security.encryption_key" $config.security.encryption_key "" "it would lie in a ConfigMap: use security.existingSecret")
  (list "security.former_encryption_keys" (join "," $config.security.former_encryption_keys) "" "they would lie in a ConfigMap: use security.existingSecret")
  (list "redis.mode" $config.redis.mode "standalone" "use redis.mode")
  (list "redis.url" $config.redis.url "" "it would lie in a ConfigMap: use redis.url or redis.existingSecret")
  (list "redis.sentinel_urls" (join "," $config.redis.sentinel_urls) "" "they would lie in a ConfigMap: use redis.sentinelUrls or redis.existingSecret")
  (list "redis.sentinel_master" $config.redis.sentinel_master "" "use redis.sentinelMaster")
  (list "redis.cluster_urls" (join "," $config.redis.cluster_urls) "" "they would lie in a ConfigMap: use redis.clusterUrls or redis.existingSecret")
  (list "redis.tls_ca_file" $config.redis.tls_ca_file "" "use redis.tls.caSecret")
-}}
{{- range $own -}}
{{- if ne (index . 1) (index . 2) -}}
{{- fail (printf "config.%s is not to be set here: %s" (index . 0) (index . 3)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.eventCatalogue $config.events.catalogue_file -}}
{{- fail "eventCatalogue and config.events.catalogue_file are both set: give one" -}}
{{- end -}}
{{- if regexMatch "^(127\\.|::1$|localhost$)" $config.server.bind -}}
{{- fail (printf "config.server.bind is %s, where nobody outside of the pod reaches it: use 0.0.0.0, or :: where pods have IPv6 addresses" $config.server.bind) -}}
{{- end -}}
{{- end -}}

{{- define "salesos-webhooks.checkValkey" -}}
{{- $redis := .Values.redis -}}
{{- if or $redis.url $redis.existingSecret $redis.sentinelUrls $redis.clusterUrls (ne $redis.mode "standalone") -}}
{{- fail "valkey.enabled, which is for evaluation only, and a Redis of your own (redis.*) are both set: give one" -}}
{{- end -}}
{{- end -}}

{{- define "salesos-webhooks.checkRedis" -}}
{{- $redis := .Values.redis -}}
{{- if eq $redis.mode "standalone" -}}
{{- if not (or $redis.url $redis.existingSecret) -}}
{{- fail "no Redis is named: set redis.existingSecret or redis.url (redis://:password@host:6379), or valkey.enabled=true for an evaluation" -}}
{{- end -}}
{{- else if eq $redis.mode "sentinel" -}}
{{- if not $redis.sentinelMaster -}}
{{- fail "redis.mode is sentinel: set redis.sentinelMaster to the name that the sentinels know the master by" -}}
{{- end -}}
{{- if not (or $redis.sentinelUrls $redis.existingSecret) -}}
{{- fail "redis.mode is sentinel: set redis.sentinelUrls to all sentinels, or redis.existingSecret" -}}
{{- end -}}
{{- else if not (or $redis.clusterUrls $redis.existingSecret) -}}
{{- fail "redis.mode is cluster: set redis.clusterUrls to some of its nodes, or redis.existingSecret" -}}
{{- end -}}
{{- if and (ne $redis.mode "sentinel") (or $redis.sentinelMaster $redis.sentinelUrls) -}}
{{- fail (printf "redis.sentinelMaster and redis.sentinelUrls are for redis.mode sentinel, which is %s" $redis.mode) -}}
{{- end -}}
{{- if and (ne $redis.mode "cluster") $redis.clusterUrls -}}
{{- fail (printf "redis.clusterUrls is for redis.mode cluster, which is %s" $redis.mode) -}}
{{- end -}}
{{- if and (eq $redis.mode "cluster") $redis.url -}}
{{- fail "redis.url is not used when redis.mode is cluster: give user and password in redis.clusterUrls" -}}
{{- end -}}
{{- if and $redis.existingSecret (or $redis.url $redis.sentinelUrls $redis.clusterUrls) -}}
{{- fail "redis.existingSecret and a URL in redis are both set: give one" -}}
{{- end -}}
{{- end -}}

{{- define "salesos-webhooks.checkTimes" -}}
{{- $config := .Values.config -}}
{{- if ge (int $config.cluster.handover_seconds) (int $config.server.drain_seconds) -}}
{{- fail (printf "config.cluster.handover_seconds (%d) must be less than config.server.drain_seconds (%d): a node would be killed while it hands over" (int $config.cluster.handover_seconds) (int $config.server.drain_seconds)) -}}
{{- end -}}
{{- if gt (int $config.breaker.pause_seconds) (int $config.breaker.max_pause_seconds) -}}
{{- fail (printf "config.breaker.pause_seconds (%d) must be at most config.breaker.max_pause_seconds (%d)" (int $config.breaker.pause_seconds) (int $config.breaker.max_pause_seconds)) -}}
{{- end -}}
{{- $most := ternary (int .Values.autoscaling.maxReplicas) (int .Values.replicaCount) .Values.autoscaling.enabled -}}
{{- if gt $most (int $config.cluster.partitions) -}}
{{- fail (printf "%d nodes are more than config.cluster.partitions (%d): some would own nothing" $most (int $config.cluster.partitions)) -}}
{{- end -}}
{{- $grace := int (include "salesos-webhooks.gracePeriod" .) -}}
{{- $sleep := int .Values.preStop.sleepSeconds -}}
{{- $drain := int .Values.config.server.drain_seconds -}}
{{- if le $grace (int (add $sleep $drain)) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, and a node needs more than preStop.sleepSeconds (%d) + config.server.drain_seconds (%d) = %d: it would be killed while it hands over" $grace $sleep $drain (add $sleep $drain)) -}}
{{- end -}}
{{- end -}}
