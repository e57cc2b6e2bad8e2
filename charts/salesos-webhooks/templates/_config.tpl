{{/* One value as TOML. All numbers of a values file are floating here; whole ones are written so, and taken where others may be. */}}
{{- define "salesos-webhooks.toml" -}}
{{- if kindIs "bool" . -}}
{{- . -}}
{{- else if kindIs "string" . -}}
{{- toJson . -}}
{{- else if kindIs "slice" . -}}
[{{- range $index, $entry := . -}}{{- if $index }}, {{ end -}}{{- toJson $entry -}}{{- end -}}]
{{- else if eq (float64 .) (floor .) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* The settings file: `config`, with what other values decide. Secrets come through the environment. */}}
{{- define "salesos-webhooks.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config.redis "mode" .Values.redis.mode -}}
{{- $_ := set $config.redis "sentinel_master" .Values.redis.sentinelMaster -}}
{{- if .Values.redis.tls.caSecret -}}
{{- $_ := set $config.redis "tls_ca_file" (printf "%s/ca.crt" (include "salesos-webhooks.caDir" .)) -}}
{{- end -}}
{{- if .Values.eventCatalogue -}}
{{- $_ := set $config.events "catalogue_file" (printf "%s/events.toml" (include "salesos-webhooks.configDir" .)) -}}
{{- end -}}
{{- if .Values.tests.privateReceiver -}}
{{- $_ := set $config.delivery "allowed_networks" (append $config.delivery.allowed_networks .Values.tests.podNetwork | uniq) -}}
{{- end -}}
# Made by the chart from `config` and from what other values decide. The environment wins over it.
{{- range $section := keys $config | sortAlpha }}

[{{ $section }}]
{{- $keys := index $config $section }}
{{- range $key := keys $keys | sortAlpha }}
{{ $key }} = {{ include "salesos-webhooks.toml" (index $keys $key) }}
{{- end }}
{{- end }}
{{- end -}}
