{{- define "waggle.fullname" -}}
{{- if contains "waggle" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-waggle" (.Release.Name | trunc 40 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "waggle.selector" -}}
app.kubernetes.io/name: waggle
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "waggle.labels" -}}
{{ include "waggle.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "waggle.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "waggle.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "waggle.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "waggle.publicUrl" -}}
{{- .Values.publicUrl | default (printf "%s://%s" (ternary "https" "http" .Values.ingress.tls.enabled) .Values.host) -}}
{{- end -}}

{{- define "waggle.internalUrl" -}}
{{- printf "http://%s-web:%v" (include "waggle.fullname" .) .Values.web.port -}}
{{- end -}}

{{- define "waggle.claim" -}}
{{- .Values.persistence.existingClaim | default (printf "%s-data" (include "waggle.fullname" .)) -}}
{{- end -}}

{{/* Pod annotations: a changed ConfigMap starts new pods. Argument: the root. */}}
{{- define "waggle.podAnnotations" -}}
checksum/config: {{ include (print $.Template.BasePath "/configmap.yaml") . | sha256sum }}
{{- with .Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Where pods may be placed, and as whom they run: the restricted profile. Argument: dict root, seccomp. */}}
{{- define "waggle.podSpec" -}}
{{- $root := .root -}}
serviceAccountName: {{ include "waggle.serviceAccount" $root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    {{- toYaml (.seccomp | default (dict "type" "RuntimeDefault")) | nindent 4 }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* Spread of a process over nodes. Argument: dict root, process. */}}
{{- define "waggle.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "waggle.selector" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .process }}
{{- end -}}

{{- define "waggle.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* Environment of every process but the runner. Argument: the root. */}}
{{- define "waggle.controlPlaneEnv" -}}
envFrom:
  - configMapRef:
      name: {{ include "waggle.fullname" . }}
  - secretRef:
      name: {{ .Values.secret.existingSecret }}
{{- with .Values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Holds a pod back until database, Redis and migrations are there. Argument: the root. */}}
{{- define "waggle.waitForMigrations" -}}
- name: wait-for-migrations
  image: {{ include "waggle.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [python, manage.py, ready, --wait, {{ .Values.migrate.waitSeconds | quote }}]
  {{- include "waggle.controlPlaneEnv" . | nindent 2 }}
  resources:
    {{- toYaml .Values.migrate.resources | nindent 4 }}
  {{- include "waggle.containerSecurity" . | nindent 2 }}
  volumeMounts:
    - { name: scratch, mountPath: /tmp }
{{- end -}}

{{/* Without a port, a probe can only see that the process is neither stopped nor a zombie. */}}
{{- define "waggle.processProbes" -}}
startupProbe:
  exec:
    command: [grep, -q, "^State:.[SRD]", /proc/1/status]
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  exec:
    command: [grep, -q, "^State:.[SRD]", /proc/1/status]
  periodSeconds: 20
  failureThreshold: 3
{{- end -}}
