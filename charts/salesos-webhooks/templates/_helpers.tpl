{{/* What the names of all objects begin with. Short enough that the name of a pod is a node's id (64 characters). */}}
{{- define "salesos-webhooks.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What never changes, for selectors. */}}
{{- define "salesos-webhooks.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The labels of every object but for its component. */}}
{{- define "salesos-webhooks.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "salesos-webhooks.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: salesos-webhooks
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The name of an image: (list $ .Values.image). */}}
{{- define "salesos-webhooks.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $repository := $image.repository -}}
{{- with $root.Values.global.imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository ($image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "salesos-webhooks.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "salesos-webhooks.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The restricted pod security standard; what the values say is merged into it. */}}
{{- define "salesos-webhooks.podSecurityContext" -}}
{{- $default := dict "runAsNonRoot" true "runAsUser" 65532 "runAsGroup" 65532 "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- toYaml (mergeOverwrite $default (deepCopy .Values.podSecurityContext)) -}}
{{- end -}}

{{- define "salesos-webhooks.securityContext" -}}
{{- $default := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "capabilities" (dict "drop" (list "ALL")) -}}
{{- toYaml (mergeOverwrite $default (deepCopy .Values.securityContext)) -}}
{{- end -}}

{{/* Where the settings are seen by a container. */}}
{{- define "salesos-webhooks.configDir" -}}/etc/salesos-webhooks{{- end -}}
{{- define "salesos-webhooks.caDir" -}}/etc/salesos-webhooks-redis-ca{{- end -}}

{{/* The Secrets that hold the token key and the way to Redis. */}}
{{- define "salesos-webhooks.authSecret" -}}
{{- .Values.auth.existingSecret | default (include "salesos-webhooks.fullname" .) -}}
{{- end -}}
{{/* Not empty where tokens can be made: with public keys alone only the identity provider makes them. */}}
{{- define "salesos-webhooks.hasSecret" -}}
{{- if or .Values.auth.jwtSecret .Values.auth.existingSecret -}}true{{- end -}}
{{- end -}}
{{- define "salesos-webhooks.redisSecret" -}}
{{- .Values.redis.existingSecret | default (include "salesos-webhooks.fullname" .) -}}
{{- end -}}

{{/* The environment that brings the encryption keys: of an existing Secret the first must be there, so that a slip in its name
does not leave secrets unencrypted. */}}
{{- define "salesos-webhooks.securityEnv" -}}
{{- $security := .Values.security -}}
{{- $keys := $security.existingSecretKeys -}}
{{- $secret := $security.existingSecret | default (include "salesos-webhooks.fullname" .) -}}
{{- if or $security.existingSecret $security.encryptionKey -}}
- name: WEBHOOKS_SECURITY__ENCRYPTION_KEY
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ ternary "encryption-key" $keys.encryptionKey (empty $security.existingSecret) }}
{{- end }}
{{- if or $security.existingSecret $security.formerEncryptionKeys }}
- name: WEBHOOKS_SECURITY__FORMER_ENCRYPTION_KEYS
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ ternary "former-encryption-keys" $keys.formerEncryptionKeys (empty $security.existingSecret) }}
      {{- if $security.existingSecret }}
      optional: true
      {{- end }}
{{- end }}
{{- end -}}

{{/* The environment of everything that reads the settings, but for the node's id. */}}
{{- define "salesos-webhooks.secretEnv" -}}
{{- $keys := .Values.redis.existingSecretKeys -}}
{{- $secret := include "salesos-webhooks.redisSecret" . -}}
{{- if include "salesos-webhooks.hasSecret" . -}}
- name: WEBHOOKS_AUTH__JWT_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ include "salesos-webhooks.authSecret" . }}
      key: {{ ternary "jwt-secret" .Values.auth.existingSecretKey (empty .Values.auth.existingSecret) }}
{{- end }}
{{- with include "salesos-webhooks.securityEnv" . | trim }}
{{ . }}
{{- end }}
{{- if ne .Values.redis.mode "cluster" }}
- name: WEBHOOKS_REDIS__URL
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ ternary "redis-url" $keys.url (empty .Values.redis.existingSecret) }}
      {{- if eq .Values.redis.mode "sentinel" }}
      optional: true
      {{- end }}
{{- end }}
{{- if eq .Values.redis.mode "sentinel" }}
- name: WEBHOOKS_REDIS__SENTINEL_URLS
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ ternary "sentinel-urls" $keys.sentinelUrls (empty .Values.redis.existingSecret) }}
{{- end }}
{{- if eq .Values.redis.mode "cluster" }}
- name: WEBHOOKS_REDIS__CLUSTER_URLS
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ ternary "cluster-urls" $keys.clusterUrls (empty .Values.redis.existingSecret) }}
{{- end }}
{{- end -}}

{{- define "salesos-webhooks.volumeMounts" -}}
- name: config
  mountPath: {{ include "salesos-webhooks.configDir" . }}
  readOnly: true
{{- if .Values.redis.tls.caSecret }}
- name: redis-ca
  mountPath: {{ include "salesos-webhooks.caDir" . }}
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "salesos-webhooks.volumes" -}}
- name: config
  configMap:
    name: {{ include "salesos-webhooks.fullname" . }}
{{- with .Values.redis.tls.caSecret }}
- name: redis-ca
  secret:
    secretName: {{ . }}
    items:
      - key: {{ $.Values.redis.tls.caKey }}
        path: ca.crt
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Seconds from the wish that a pod ends to its end by force: more than the hook and the node's own drain. */}}
{{- define "salesos-webhooks.gracePeriod" -}}
{{- $needed := add (int .Values.preStop.sleepSeconds) (int .Values.config.server.drain_seconds) -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- add $needed 10 -}}
{{- else -}}
{{- int .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}
