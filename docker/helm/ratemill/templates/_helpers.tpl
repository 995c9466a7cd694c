{{- define "ratemill.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}

{{/* Labels that select: of (dict "root" $ "component" "worker"); without a component those of all. */}}
{{- define "ratemill.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "ratemill.labels" -}}
{{ include "ratemill.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "ratemill.metadata" -}}
name: {{ include "ratemill.name" .root }}{{ with .component }}-{{ . }}{{ end }}
labels:
  {{- include "ratemill.labels" . | nindent 2 }}
{{- end }}

{{/* Whose log-in a component has. */}}
{{- define "ratemill.login" -}}
{{- $who := ternary "worker" .component (eq .component "index") }}
{{- get .root.Values.logins $who | toJson }}
{{- end }}

{{/* The pod of a component. command: its arguments; port: of its metrics; probes: as text. The state of a worker is a claim of its StatefulSet. */}}
{{- define "ratemill.pod" -}}
{{- $root := .root }}
{{- $values := get .root.Values .component }}
metadata:
  labels:
    {{- include "ratemill.labels" . | nindent 4 }}
  annotations:
    # Settings are read at the start: other ones are another pod.
    checksum/config: {{ print (include "ratemill.toml" $root) (ternary $root.Values.marketplace.listings "" (eq .component "marketplace")) | sha256sum }}
spec:
  serviceAccountName: {{ ternary $root.Values.marketplace.serviceAccountName "" (eq .component "marketplace") | default (include "ratemill.name" $root) }}
  automountServiceAccountToken: false
  # Kubernetes would set RATEMILL_API_PORT and the like for our own Services; unknown names that begin with RATEMILL_ are refused.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "ratemill.selector" . | nindent 10 }}
  containers:
    - name: {{ .component }}
      image: "{{ $root.Values.image.repository }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}"
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: {{ .command | toJson }}
      env:
        - name: RATEMILL_CONFIG
          value: /etc/ratemill/ratemill.toml
        {{- include "ratemill.env" . | trim | nindent 8 }}
      ports:
        - name: {{ ternary "http" "metrics" (eq .component "api") }}
          containerPort: {{ .port }}
      {{- .probes | nindent 6 }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        - name: config
          mountPath: /etc/ratemill
          readOnly: true
        - name: secrets
          mountPath: /etc/ratemill-secrets
          readOnly: true
        - name: state
          mountPath: /var/lib/ratemill
        - name: tmp
          mountPath: /tmp
  volumes:
    - name: config
      configMap:
        name: {{ include "ratemill.name" $root }}
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          {{- include "ratemill.sources" . | trim | default "[]" | nindent 10 }}
    - name: tmp
      emptyDir: {}
    {{- if ne .component "worker" }}
    - name: state
      emptyDir: {}
    {{- end }}
{{- end }}

{{/* What a component is told by its environment: where its secrets are, and what the chart decides. */}}
{{- define "ratemill.env" -}}
{{- $login := include "ratemill.login" . | fromJson }}
{{- $files := "/etc/ratemill-secrets" }}
{{- with $login.kafkaUsername }}
- name: RATEMILL_KAFKA__USERNAME
  value: {{ . | quote }}
{{- end }}
{{- if $login.kafkaPassword.secret }}
- name: RATEMILL_KAFKA__PASSWORD_FILE
  value: {{ $files }}/kafka-password
{{- end }}
{{- if $login.kafkaCertificate.secret }}
- name: RATEMILL_KAFKA__CERT_FILE
  value: {{ $files }}/kafka.crt
- name: RATEMILL_KAFKA__KEY_FILE
  value: {{ $files }}/kafka.key
{{- end }}
{{- if $login.elasticsearchApiKey.secret }}
- name: RATEMILL_ELASTICSEARCH__API_KEY_FILE
  value: {{ $files }}/elasticsearch-api-key
{{- end }}
{{- if .root.Values.authorities.kafka.secret }}
- name: RATEMILL_KAFKA__CA_FILE
  value: {{ $files }}/kafka-ca.crt
{{- end }}
{{- if .root.Values.authorities.elasticsearch.secret }}
- name: RATEMILL_ELASTICSEARCH__CA_FILE
  value: {{ $files }}/elasticsearch-ca.crt
{{- end }}
{{- if has .component (list "api" "watch" "marketplace") }}
- name: RATEMILL_API__DATABASE_FILE
  value: {{ $files }}/database
{{- else }}
- name: RATEMILL_WORKER__NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
{{- if ne .component "api" }}
{{- $section := ternary (upper .component) "WORKER" (has .component (list "watch" "marketplace")) }}
- name: RATEMILL_{{ $section }}__METRICS_HOST
  value: 0.0.0.0
- name: RATEMILL_{{ $section }}__METRICS_PORT
  value: {{ .port | quote }}
{{- end }}
{{- if eq .component "marketplace" }}
- name: RATEMILL_MARKETPLACE__LISTINGS
  value: /etc/ratemill/listings.yaml
{{- if .root.Values.marketplace.azureClientSecret.secret }}
- name: RATEMILL_MARKETPLACE__AZURE_CLIENT_SECRET_FILE
  value: {{ $files }}/azure-client-secret
{{- end }}
{{- if .root.Values.marketplace.stripeApiKey.secret }}
- name: RATEMILL_MARKETPLACE__STRIPE_API_KEY_FILE
  value: {{ $files }}/stripe-api-key
{{- end }}
{{- end }}
{{- end }}

{{/* The files of a component's secrets, each from the Secret that is named for it: nobody gets what others log in with. */}}
{{- define "ratemill.sources" -}}
{{- $login := include "ratemill.login" . | fromJson }}
{{- $files := list
  (dict "from" $login.kafkaPassword "key" $login.kafkaPassword.key "path" "kafka-password")
  (dict "from" $login.kafkaCertificate "key" $login.kafkaCertificate.certKey "path" "kafka.crt")
  (dict "from" $login.kafkaCertificate "key" $login.kafkaCertificate.keyKey "path" "kafka.key")
  (dict "from" $login.elasticsearchApiKey "key" $login.elasticsearchApiKey.key "path" "elasticsearch-api-key")
  (dict "from" .root.Values.authorities.kafka "key" .root.Values.authorities.kafka.key "path" "kafka-ca.crt")
  (dict "from" .root.Values.authorities.elasticsearch "key" .root.Values.authorities.elasticsearch.key "path" "elasticsearch-ca.crt")
}}
{{- if has .component (list "api" "watch" "marketplace") }}
{{- $files = append $files (dict "from" .root.Values.database "key" .root.Values.database.key "path" "database") }}
{{- end }}
{{- if eq .component "marketplace" }}
{{- $files = append $files (dict "from" .root.Values.marketplace.azureClientSecret "key" .root.Values.marketplace.azureClientSecret.key "path" "azure-client-secret") }}
{{- $files = append $files (dict "from" .root.Values.marketplace.stripeApiKey "key" .root.Values.marketplace.stripeApiKey.key "path" "stripe-api-key") }}
{{- end }}
{{- range $files }}
{{- if .from.secret }}
- secret:
    name: {{ .from.secret }}
    items:
      - key: {{ .key }}
        path: {{ .path }}
{{- end }}
{{- end }}
{{- end }}

{{/* Alive while it answers; it ends by itself when it cannot go on. What holds no partitions is ready as soon as it answers. */}}
{{- define "ratemill.probes" -}}
{{- $ready := ternary "/readyz" "/metrics" (has .component (list "worker" "index")) }}
startupProbe:
  httpGet: {path: /metrics, port: metrics}
  periodSeconds: 5
  failureThreshold: 60
# Of a worker: it holds its partitions, and they are restored.
readinessProbe:
  httpGet: {path: {{ $ready }}, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 5
livenessProbe:
  httpGet: {path: /metrics, port: metrics}
  periodSeconds: 15
  timeoutSeconds: 10
  failureThreshold: 4
{{- end }}

{{- define "ratemill.toml" -}}
{{ .Values.config | toToml }}
{{- end }}

{{/* The lag that workers are scaled by: what normalize and rate have not taken, as this release's API sees it. Index agents wait for Elasticsearch. */}}
{{- define "ratemill.lag" -}}
max(ratemill_lag_seconds{lane=~"normalize|rate",namespace="{{ .Release.Namespace }}",pod=~"{{ include "ratemill.name" . }}-api-.*"})
{{- end }}
