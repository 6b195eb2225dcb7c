// Records golden bytes: what Kafka's own classes write for given messages.
//
//     cargo test --release -p protocol --test codec -- --ignored --nocapture golden_input | grep '^golden ' > in.txt
//     java -cp 'KAFKA/libs/*' protocol/import/Golden.java < in.txt > protocol/tests/golden/kafka-4.3.1.txt
//
// In: lines "golden NAME VERSION JSON". Kafka's JsonConverter reads the JSON, and the message is written at the version. Kafka's JSON
// of the message must say the same as ours, except for records, of which Kafka tells only the size.
// Out: lines "NAME VERSION HEX JSON"; the JSON only for the newest version of a message, as Kafka printed it, else "-".

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.Map;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;

public class Golden {
    static final String[] PLACES = {
        "org.apache.kafka.common.message.%sData", "org.apache.kafka.common.message.%s", "org.apache.kafka.common.metadata.%s",
        "org.apache.kafka.coordinator.group.generated.%s", "org.apache.kafka.coordinator.transaction.generated.%s",
        "org.apache.kafka.coordinator.share.generated.%s", "org.apache.kafka.raft.generated.%s",
        "org.apache.kafka.server.log.remote.metadata.storage.generated.%s",
    };
    static final ObjectMapper JSON = new ObjectMapper();

    static String className(String name) {
        for (String place : PLACES) {
            String full = String.format(place, name);
            try {
                Class.forName(full + "JsonConverter");
                return full;
            } catch (ClassNotFoundException e) {
                // The next place.
            }
        }
        throw new IllegalStateException("no class for " + name);
    }

    /** Puts sizes in the place of records in our JSON, where Kafka's has them. */
    static void sizes(JsonNode ours, JsonNode kafka) {
        if (kafka instanceof ObjectNode object && ours instanceof ObjectNode own) {
            for (Map.Entry<String, JsonNode> field : object.properties()) {
                String name = field.getKey();
                if (name.endsWith("SizeInBytes") && !own.has(name)) {
                    String plain = name.substring(0, name.length() - "SizeInBytes".length());
                    JsonNode bytes = own.remove(plain);
                    int size = bytes == null || bytes.isNull() ? 0 : java.util.Base64.getDecoder().decode(bytes.asText()).length;
                    own.put(name, size);
                } else if (own.has(name)) {
                    sizes(own.get(name), field.getValue());
                }
            }
        } else if (kafka instanceof ArrayNode array) {
            for (int i = 0; i < array.size(); i++) {
                sizes(ours.get(i), array.get(i));
            }
        }
    }

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        StringBuilder out = new StringBuilder();
        int wrong = 0;
        for (String line; (line = in.readLine()) != null; ) {
            String[] words = line.split(" ", 4);
            short version = Short.parseShort(words[2]);
            String full = className(words[1]);
            Class<?> type = Class.forName(full);
            Class<?> converter = Class.forName(full + "JsonConverter");
            JsonNode ours = JSON.readTree(words[3]);
            Message message = (Message) converter.getMethod("read", JsonNode.class, short.class).invoke(null, ours, version);
            ByteBuffer buffer = MessageUtil.toByteBufferAccessor(message, version).buffer();
            byte[] bytes = new byte[buffer.remaining()];
            buffer.get(bytes);

            Method write;
            JsonNode kafka;
            try {
                kafka = (JsonNode) converter.getMethod("write", type, short.class, boolean.class).invoke(null, message, version, false);
            } catch (NoSuchMethodException e) {
                kafka = (JsonNode) converter.getMethod("write", type, short.class).invoke(null, message, version);
            }
            String printed = kafka.toString();
            JsonNode compared = JSON.readTree(printed);
            sizes(ours, compared);
            if (!ours.equals(compared)) {
                wrong++;
                System.err.println("OURS  " + line + "\nKAFKA " + printed);
            }
            boolean newest = version == type.getField("HIGHEST_SUPPORTED_VERSION").getShort(null);
            out.append(words[1]).append(' ').append(version).append(' ').append(HexFormat.of().formatHex(bytes))
                .append(' ').append(newest ? printed : "-").append('\n');
        }
        System.out.write(out.toString().getBytes(StandardCharsets.UTF_8));
        System.out.flush();
        if (wrong > 0) {
            System.err.println(wrong + " messages differ");
            System.exit(1);
        }
    }
}
