// Writes the facts of Kafka's config definitions as a table, and what Kafka says to good and bad values as golden lines.
//
//     javac -cp 'KAFKA/libs/*' -d out protocol/import/Configs.java
//     java -cp 'KAFKA/libs/*:out' Configs table > protocol/schema/configs-4.3.1.table
//     java -cp 'KAFKA/libs/*:out' Configs golden > protocol/tests/golden/configs.txt
//
// The grammar of the table stands at the top of protocol/src/config/table.rs. Golden lines, separated by tabs:
//     KIND NAME VALUE ok PARSED         KIND NAME VALUE error MESSAGE

import java.lang.reflect.Field;
import java.util.*;
import java.util.function.Function;
import org.apache.kafka.common.config.*;
import org.apache.kafka.common.config.ConfigDef.*;
import org.apache.kafka.common.config.types.Password;
import org.apache.kafka.coordinator.group.GroupConfig;
import org.apache.kafka.server.config.*;
import org.apache.kafka.server.metrics.ClientMetricsConfigs;
import org.apache.kafka.storage.internals.log.LogConfig;

public class Configs {
    static final Map<String, ConfigDef> KINDS = new LinkedHashMap<>();
    static {
        KINDS.put("server", kafka.server.KafkaConfig.configDef());
        KINDS.put("topic", LogConfig.configDefCopy());
        KINDS.put("group", GroupConfig.CONFIG_DEF);
        KINDS.put("client-metrics", ClientMetricsConfigs.configDef());
        KINDS.put("user", QuotaConfig.scramMechanismsPlusUserAndClientQuotaConfigs());
        KINDS.put("ip", QuotaConfig.ipConfigs());
        KINDS.put("broker-quota", QuotaConfig.brokerQuotaConfigs());
    }

    static Object field(Object o, String name) throws Exception {
        Field f = o.getClass().getDeclaredField(name);
        f.setAccessible(true);
        return f.get(o);
    }

    static String check(ConfigKey key) throws Exception {
        Validator v = key.validator;
        if (v == null) return "-";
        switch (v.getClass().getSimpleName()) {
            case "Range": {
                Object min = field(v, "min"), max = field(v, "max");
                return "range:" + (min == null ? "" : min) + ".." + (max == null ? "" : max);
            }
            case "ValidString": return "in:" + String.join(",", (List<String>) field(v, "validStrings"));
            case "CaseInsensitiveValidString": return "in-ignore-case:" + String.join(",", (Set<String>) field(v, "validStrings"));
            case "ValidList": {
                List<String> valid = (List<String>) field(field(v, "validString"), "validStrings");
                return "list" + ((boolean) field(v, "isEmptyAllowed") ? "" : "-not-empty") + ((boolean) field(v, "isNullAllowed") ? "-or-null" : "")
                    + ":" + String.join(",", valid);
            }
            case "NonEmptyString": return "not-empty";
            case "NonNullValidator": return "not-null";
            case "ThrottledReplicaListValidator": return "throttled-replicas";
            case "ControllerQuorumVotersValidator": return "voters";
            case "ControllerQuorumBootstrapServersValidator": return "bootstrap-servers";
            case "LambdaValidator": return key.name.equals("compression.gzip.level") ? "gzip-level" : fail(key.name);
            case "Validator": return "offset-reset";
            default: return fail(v.getClass().getName());
        }
    }

    static String fail(String what) { throw new IllegalStateException("no word for the validator of " + what); }

    static String text(Object value, Type type) {
        if (value instanceof Password p) return p.value();
        return ConfigDef.convertToString(value, type);
    }

    static void table() throws Exception {
        Map<String, String> modes = DynamicBrokerConfig.dynamicConfigUpdateModes();
        for (Map.Entry<String, ConfigDef> kind : KINDS.entrySet()) {
            System.out.println("[" + kind.getKey() + "]");
            for (ConfigKey k : new TreeMap<>(kind.getValue().configKeys()).values()) {
                String mode = kind.getKey().equals("server") ? modes.getOrDefault(k.name, "read-only") : "-";
                String value = !k.hasDefault() ? "required" : k.defaultValue == null ? "null" : "=" + text(k.defaultValue, k.type);
                if (value.contains(" ")) throw new IllegalStateException(k.name);
                System.out.println(String.join(" ", k.name, k.type.name().toLowerCase(Locale.ROOT), k.importance.name().toLowerCase(Locale.ROOT),
                    k.internalConfig ? "internal" : "public", mode, value, check(k)));
            }
        }
        System.out.println("[topic-synonyms]");
        for (Map.Entry<String, List<ConfigSynonym>> e : new TreeMap<>(ServerTopicConfigSynonyms.ALL_TOPIC_CONFIG_SYNONYMS).entrySet()) {
            StringBuilder line = new StringBuilder(e.getKey());
            for (ConfigSynonym s : e.getValue()) {
                String one = s.converter().apply("1");
                line.append(' ').append(s.name()).append(one.equals("1") ? "" : "*" + one);
            }
            System.out.println(line);
        }
        System.out.println("[group-synonyms]");
        for (Map.Entry<String, Optional<String>> e : new TreeMap<>(GroupConfig.ALL_GROUP_CONFIG_SYNONYMS).entrySet())
            e.getValue().ifPresent(name -> System.out.println(e.getKey() + " " + name));
    }

    static final String[] VALUES = {
        "", " ", "0", "1", "-1", "-2", "-3", "2", "9", "10", "17", "22", "23", "+5", " 7 ", "1.5", "1e3", "0.5", "1.0", "-0.1", "NaN", "abc", "true",
        "TRUE", " false ", "yes", "null", "32767", "32768", "2147483647", "2147483648", "-2147483648", "-131072", "-131073", "9223372036854775807",
        "9223372036854775808", "1048575", "1048576", "compact", "delete", "compact,delete", "compact, delete", " compact ,delete ", "compact,compact",
        "Compact", "a,,b", ",", "gzip", "producer", "uncompressed", "none", "GZIP", "CreateTime", "createtime", "latest", "earliest", "by_duration:PT1H",
        "by_duration:x", "read_committed", "bidirectional", "Bidirectional", "broker,controller", "1:2,3:4", "*", "1:2,x", "1@localhost:9093",
        "1@localhost", "1@localhost:9093,2@[::1]:9094", "1@localhost:x", "localhost:9093", "localhost", "required", "SASL_SSL", "a b", "consumer,classic",
        "none, x", "1_000", "0x10", "1d", "Infinity"};

    static void golden() throws Exception {
        // One key of each type and validator is enough.
        Set<String> seen = new HashSet<>();
        for (Map.Entry<String, ConfigDef> kind : KINDS.entrySet()) {
            for (ConfigKey k : new TreeMap<>(kind.getValue().configKeys()).values()) {
                if (k.type == Type.CLASS || !seen.add(k.type + " " + check(k).replaceAll("range:[-0-9E]+\\.\\.", "range").replaceAll("[0-9.]+$", "N"))) continue;
                // Of values that are refused with the same words, two are enough.
                Map<String, Integer> same = new HashMap<>();
                for (String value : VALUES) {
                    String answer;
                    try {
                        Object parsed = ConfigDef.parseType(k.name, value, k.type);
                        if (k.validator != null) k.validator.ensureValid(k.name, parsed);
                        answer = "ok\t" + text(parsed, k.type);
                    } catch (ConfigException e) {
                        answer = "error\t" + e.getMessage();
                    }
                    String words = answer.startsWith("ok") ? value : answer.replace(value.trim(), "");
                    if (same.merge(words, 1, Integer::sum) > 2) continue;
                    System.out.println(String.join("\t", kind.getKey(), k.name, value, answer));
                }
            }
        }
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("table")) table(); else golden();
    }
}
